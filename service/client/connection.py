"""Connections to a door: the address, the key and the proxies."""

import ipaddress
import os
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from .errors import InvalidArgument

H = TypeVar("H", httpx.Client, httpx.AsyncClient)
DEFAULT_URL = "http://127.0.0.1:8000"


def open_connection(
    kind: type[H],
    direct: Callable[[], Any],
    url: str | None,
    api_key: str | None,
    timeout_s: float,
    transport: Any,
) -> H:
    """Return an HTTP client of this kind for a door; ``url`` may include a path.

    The address and the key default to ``SFUMATO_URL`` and ``SFUMATO_API_KEY``. Proxies come from
    the environment (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), except for loopback addresses,
    which no proxy can reach: for those, ``direct`` makes the transport.

    Raises:
        InvalidArgument: the address, the key or a proxy of the environment is unusable.
    """
    address, headers = door_address(url), authorization(api_key)
    if transport is None and _is_loopback(address.host):
        transport = direct()  # with one given, httpx leaves proxies out
    try:
        return kind(base_url=address, headers=headers, timeout=timeout_s, transport=transport)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise InvalidArgument(f"a proxy variable in the environment is unusable: {error}") from None


def door_address(url: str | None) -> httpx.URL:
    """Return a door's address. Raises: InvalidArgument."""
    if url is None and (url := os.environ.get("SFUMATO_URL")):
        return _address(url, "SFUMATO_URL: ")
    return _address(DEFAULT_URL if url is None else url)


def _address(url: str, source: str = "") -> httpx.URL:
    try:
        address = httpx.URL(url.strip())
        usable = address.scheme in ("http", "https") and bool(address.host)
        usable = usable and not set(address.host) & set(' %\\<>"')
        usable = usable and (address.port is None or 0 < address.port < 65536)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        usable = False
    if not usable or address.query or address.fragment:
        raise InvalidArgument(f"{source}{url!r} is not an address like {DEFAULT_URL}")
    return address


def authorization(api_key: str | None) -> dict[str, str]:
    """Return the header for an API key. Raises: InvalidArgument."""
    key, source = api_key, ""
    if key is None and (key := os.environ.get("SFUMATO_API_KEY") or None):
        source = " in SFUMATO_API_KEY"
    if key is None:
        return {}
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise InvalidArgument(f"the API key{source} is not printable ASCII without spaces")
    return {"authorization": f"Bearer {key}"}


def shown(address: httpx.URL) -> str:
    """Return an address for people, without its password."""
    return str(address.copy_with(userinfo=b"")).rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").lower().rpartition(".")[2] == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
