"""Addresses at which no public server is: IANA's special-purpose blocks and the clouds' own.

https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry. Blocks
that they call globally reachable are listed too: anycast to the nearest relay, port mapper or name
server is no webhook.
"""

import ipaddress

REGISTRIES_AS_OF = "2026-11"  # the newest entry is 100:0:0:1::/64, of 2025

SPECIAL = {
    "0.0.0.0/8": "this network, RFC 791",
    "10.0.0.0/8": "private use, RFC 1918",
    "100.64.0.0/10": "shared address space, RFC 6598",
    "127.0.0.0/8": "loopback, RFC 1122",
    "169.254.0.0/16": "link local, RFC 3927",
    "172.16.0.0/12": "private use, RFC 1918",
    "192.0.0.0/24": "IETF protocol assignments, RFC 6890",
    "192.0.2.0/24": "documentation, RFC 5737",
    "192.31.196.0/24": "AS112, RFC 7535",
    "192.52.193.0/24": "automatic multicast tunneling, RFC 7450",
    "192.88.99.0/24": "6to4 relay anycast, RFC 7526, and 6a44, RFC 6751",
    "192.168.0.0/16": "private use, RFC 1918",
    "192.175.48.0/24": "AS112, RFC 7534",
    "198.18.0.0/15": "benchmarking, RFC 2544",
    "198.51.100.0/24": "documentation, RFC 5737",
    "203.0.113.0/24": "documentation, RFC 5737",
    "240.0.0.0/4": "reserved, RFC 1112, and broadcast, RFC 8190",
    "::1/128": "loopback, RFC 4291",
    "::/128": "unspecified, RFC 4291",
    "::ffff:0:0/96": "IPv4-mapped, RFC 4291",
    "64:ff9b::/96": "IPv4-IPv6 translation, RFC 6052",
    "64:ff9b:1::/48": "local IPv4-IPv6 translation, RFC 8215",
    "100::/64": "discard only, RFC 6666",
    "100:0:0:1::/64": "dummy prefix, RFC 9780",
    "2001::/23": "IETF protocol assignments, RFC 2928: Teredo, benchmarking, ORCHID and others",
    "2001:db8::/32": "documentation, RFC 3849",
    "2002::/16": "6to4, RFC 3056",
    "2620:4f:8000::/48": "AS112, RFC 7534",
    "3fff::/20": "documentation, RFC 9637",
    "5f00::/16": "segment routing, RFC 9602",
    "fc00::/7": "unique local, RFC 4193",
    "fe80::/10": "link local, RFC 4291",
    # Of other registries:
    "224.0.0.0/4": "multicast, RFC 5771",
    "::/96": "IPv4-compatible, RFC 4291",
    "::ffff:0:0:0/96": "IPv4-translated, RFC 7915",
    "fec0::/10": "site local, RFC 3879",
    "ff00::/8": "multicast, RFC 4291",
}

CLOUDS = {
    "100.100.100.200/32": "Alibaba Cloud's metadata",
    "161.26.0.0/16": "IBM Cloud's infrastructure",
    "166.8.0.0/14": "IBM Cloud's service endpoints",
    "168.63.129.16/32": "Azure's host agent",
    "169.254.0.0/16": "metadata of AWS, Azure, Google and most others",
    "192.0.0.192/32": "Oracle Cloud's metadata",
    "192.80.8.124/32": "Equinix Metal's metadata",
    "fd00:42::42/128": "Scaleway's metadata",
    "fd00:a9fe:a9fe::/48": "Akamai's metadata",
    "fd00:c1::/32": "Oracle Cloud's metadata",
    "fd00:ec2::/32": "AWS' metadata, time and name servers",
    "fd20:ce::/32": "Google Cloud's metadata",
    "fe80::a9fe:a9fe/128": "OpenStack's metadata",
}
"""Whoever reaches these learns a machine's credentials, so a wider network that is allowed, like
``10.0.0.0/8`` or ``fd00::/8``, does not include them."""

SPECIAL_NETWORKS = tuple(map(ipaddress.ip_network, SPECIAL))
CLOUD_NETWORKS = tuple(map(ipaddress.ip_network, CLOUDS))
