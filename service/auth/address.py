"""Whom an address stands for, wherever callers are told apart by it."""

from ipaddress import IPv6Address, IPv6Network, ip_address

IPV6_PREFIX = 64
"""A network that a provider hands to one customer, who chooses the other 64 bits at will."""


def caller_address(host: str) -> str:
    """Return the part of an address that one caller holds.

    That is an IPv4 address, also where it is mapped into IPv6, or the /64 of an IPv6 address. What
    is no address, such as the name of a socket, stands for itself.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))
