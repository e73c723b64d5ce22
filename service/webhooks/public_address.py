"""Which addresses the door may call at a client's request: only public ones."""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has assigned
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_TOO_NEW_FOR_PYTHON = (
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637
)


class RefusedAddress(Exception):
    """This address is not called."""


def check_address(text: str, allowed: Sequence[Network]) -> None:
    """Check that an address is public or in one of the ``allowed`` networks.

    Raises:
        RefusedAddress: it is loopback, private, link-local, multicast or reserved, or an IPv6 form
            of such an IPv4 address.
    """
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError as error:
        raise RefusedAddress(f"{text!r} is not an address") from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise RefusedAddress(f"{text} is bound to one link")
        address = _unwrapped(address)
    if any(address in network for network in allowed if network.version == address.version):
        return
    if not _public(address):
        raise RefusedAddress(f"{text} is not a public address")


def _unwrapped(address: ipaddress.IPv6Address) -> Address:
    """Return the IPv4 address that a packet to this one would reach, else the address."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if any(address in network for network in _TOO_NEW_FOR_PYTHON):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    tunnelled = address.sixtofour is not None or address.teredo is not None
    return address in _GLOBAL_UNICAST and not tunnelled
