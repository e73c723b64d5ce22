"""Addresses to listen on and how they are written in URLs, of IPv4 and IPv6 alike."""

import ipaddress
import socket
from contextlib import ExitStack
from typing import Any

ANY = "*"
"""Every address of this machine, of the families that it has."""
LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1", ANY: "127.0.0.1"}  # nosec B104


def url_host(host: str) -> str:
    """Return a host as it stands in a URL: an IPv6 address in brackets, a zone's % escaped."""
    bare = host.removeprefix("[").removesuffix("]")
    return f"[{bare.replace('%', '%25', 1)}]" if ":" in bare else host


def reachable(host: str) -> str:
    """Return the host, for a URL, at which this machine reaches a server that listens on it."""
    return url_host(LOOPBACK_OF.get(host, host))


def is_loopback(host: str) -> bool:
    """Return whether a URL's host is this machine's loopback interface."""
    try:
        address = ipaddress.ip_address(host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost")


def bind_host(host: str) -> str:
    """Return the address to bind for a host: for ``*`` that which also stands for IPv4."""
    if host not in (ANY, ""):
        return host
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # nosec B104 # asked for


def family_of(host: str) -> socket.AddressFamily:
    """Return the address family of a host to listen on. Raises: OSError."""
    try:
        return socket.getaddrinfo(bind_host(host), 0, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"{host!r} is not a host to listen on: {error}") from error


def listeners(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to each address of a host; ``::`` and ``*`` include IPv4.

    Raises:
        OSError: the host is not this machine, or the port is taken; the message names both.
    """
    with ExitStack() as opened:
        try:
            found = socket.getaddrinfo(bind_host(host), port, type=socket.SOCK_STREAM)
            made = [
                opened.enter_context(_bound(family, address))
                for family, address in dict.fromkeys((each[0], each[4]) for each in found)
            ]
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OSError(f"cannot listen on {url_host(host)}:{port}: {reason}") from error
        opened.pop_all()
        return made


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def check_free(host: str, port: int) -> None:
    """Check that a port is free at each address of a host. Raises: OSError."""
    for each in listeners(host, port):
        each.close()
