"""How the client reaches a door: a checked address and key, and no proxy to this machine."""

from collections.abc import Mapping

import httpx

from jobs.host.addresses import is_loopback
from service.client.errors import InvalidArgument


def open_connection(
    url: str, api_key: str | None, timeout_s: float, transport: httpx.BaseTransport | None
) -> httpx.Client:
    """Return an HTTP client for a door; ``url`` may have a path under which the door is.

    Proxies come from the environment (``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``), except to
    loopback addresses, which no proxy can reach.

    Raises:
        InvalidArgument: the address, the key or a proxy of the environment is unusable.
    """
    address, headers = door_address(url), authorization(api_key)
    if transport is None and is_loopback(address.host):
        transport = httpx.HTTPTransport()  # with one given, httpx leaves proxies out
    try:
        return httpx.Client(
            base_url=address, headers=headers, timeout=timeout_s, transport=transport
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise InvalidArgument(f"a proxy variable of the environment is unusable: {error}") from None


def door_address(url: str) -> httpx.URL:
    """Return a door's address. Raises: InvalidArgument."""
    try:
        address = httpx.URL(url.strip())
        usable = address.scheme in ("http", "https") and bool(address.host)
        usable = usable and not set(address.host) & set(' %\\<>"')
        usable = usable and (address.port is None or 0 < address.port < 65536)
    except (httpx.InvalidURL, UnicodeError, ValueError):
        usable = False
    if not usable or address.query or address.fragment:
        raise InvalidArgument(f"{url!r} is not an address like http://127.0.0.1:8000")
    return address


def authorization(api_key: str | None) -> dict[str, str]:
    """Return the header for a key. Raises: InvalidArgument."""
    if api_key is None:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or not api_key or " " in api_key:
        raise InvalidArgument("the API key is not printable ASCII without spaces, like sfu_…")
    return {"authorization": f"Bearer {api_key}"}


def shown(address: httpx.URL) -> str:
    """Return an address for people, without its password."""
    return str(address.copy_with(userinfo=b"")).rstrip("/")


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep a process' calls to loopback away from proxies."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = ",".join(filter(None, (given, "localhost", "127.0.0.1", "::1")))
    return {"no_proxy": hosts, "NO_PROXY": hosts}
