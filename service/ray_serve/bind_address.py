"""An IPv6 address for HAProxy, which Ray Serve cannot give it.

Serve has one host for HAProxy and for the replicas behind it, which HAProxy calls on 127.0.0.1. So
Serve is told 127.0.0.1, and the script around HAProxy puts the address into its configuration.
"""

import socket

from jobs.host.addresses import bind_host, family_of
from service.ray_serve.haproxy import BIND

SERVE_HOST = "127.0.0.1"


def serve_host(host: str, port: int) -> tuple[str, dict[str, str]]:
    """Return the host to give to Serve for a door on this host, and the variables it needs.

    Raises:
        OSError: the host is unknown.
    """
    if family_of(host) is not socket.AF_INET6:
        return bind_host(host), {}
    found = socket.getaddrinfo(bind_host(host), None, socket.AF_INET6, socket.SOCK_STREAM)
    address = str(found[0][4][0])
    options = " v4v6" if address == "::" else ""
    return SERVE_HOST, {BIND: f"{SERVE_HOST}:{port} {address}:{port}{options}"}
