"""Which addresses the door may call at a client's request: only public ones."""

import ipaddress
from collections.abc import Iterable, Sequence

from service.webhooks.special_addresses import CLOUD_NETWORKS, SPECIAL_NETWORKS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has assigned
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: bits 64 to 95, an IPv4 address in the last 32


class RefusedAddress(Exception):
    """This address is not called."""


def check_address(text: str, allowed: Sequence[Network]) -> None:
    """Check that an address is public or in one of the ``allowed`` networks.

    Raises:
        RefusedAddress: it is loopback, private, link-local, multicast, reserved or a cloud's own,
            or an IPv6 form of such an IPv4 address.
    """
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError as error:
        raise RefusedAddress(f"{text!r} is not an address") from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise RefusedAddress(f"{text} is bound to one link")
        address = _unwrapped(address)
    if not _public(address) and not _allowed(address, allowed):
        raise RefusedAddress(f"{text} is not a public address")


def _unwrapped(address: ipaddress.IPv6Address) -> Address:
    """Return the IPv4 address that a packet to this one would reach, else the address."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _public(address: Address) -> bool:
    if any(_holding(address, (*SPECIAL_NETWORKS, *CLOUD_NETWORKS))):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    return address in _GLOBAL_UNICAST and int(address) >> 32 & 0xFFFFFFFF not in _ISATAP


def _allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether a network allows the address; a cloud's own only by a network within it."""
    clouds = list(_holding(address, CLOUD_NETWORKS))
    return any(
        all(network.prefixlen >= cloud.prefixlen for cloud in clouds)
        for network in _holding(address, networks)
    )


def _holding(address: Address, networks: Iterable[Network]) -> Iterable[Network]:
    return (each for each in networks if each.version == address.version and address in each)
