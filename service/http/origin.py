"""Calls from web pages that carry no key: a browser sends them wherever a page asks it to."""

from collections.abc import Collection

from jobs.telemetry.text import shown
from service.http.problem import Refusal


def check_origin(origin: str | None, allowed: Collection[str]) -> None:
    """Refuse a web page that may not call, whatever its host's name leads to.

    Args:
        origin: the request's ``Origin``, which browsers send with every POST.
        allowed: ``SFUMATO_CORS_ORIGINS``.

    Raises:
        Refusal: 403.
    """
    if origin is not None and not {"*", origin} & set(allowed):
        detail = f"SFUMATO_CORS_ORIGINS does not list {shown(origin)[:200]}"
        raise Refusal(403, "forbidden_origin", detail, field="Origin")
