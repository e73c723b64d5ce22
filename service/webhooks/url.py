"""Which URLs webhooks may have; the addresses of their hosts are checked at each call."""

import ipaddress

import httpx

from jobs.errors import InvalidRequest
from service.settings import ServiceSettings
from service.webhooks.public_address import RefusedAddress, check_address

FIELD = "webhook.url"


def check_url(text: str, settings: ServiceSettings) -> httpx.URL:
    """Return a webhook's URL.

    Raises:
        InvalidRequest: it is not an http(s) URL, has credentials, or its host is refused.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequest(FIELD, "a URL must be printable ASCII without spaces")
    try:
        url = httpx.URL(text)
        host = url.host  # decoded here
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest(FIELD, f"not a URL: {error}") from error
    if url.scheme not in (("https", "http") if settings.webhook_allow_http else ("https",)):
        raise InvalidRequest(FIELD, f"the scheme must be https, not {url.scheme!r}")
    if not host or url.userinfo or url.fragment:
        raise InvalidRequest(FIELD, "a URL must have a host, and neither a user nor a fragment")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise InvalidRequest(FIELD, f"{url.port} is not a port")
    _check_literal(host, settings)
    return url


def _check_literal(host: str, settings: ServiceSettings) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # a name
    try:
        check_address(host, settings.webhook_networks)
    except RefusedAddress as error:
        raise InvalidRequest(FIELD, str(error)) from error
