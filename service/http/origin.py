"""Calls from web pages that carry no key: a browser sends them wherever a page asks it to."""

from fastapi import Request

from jobs.telemetry.text import shown
from service.door import DoorDep
from service.http.problem import Refusal


def check_origin(request: Request, door: DoorDep) -> None:
    """Refuse a web page that may not call, whatever its host's name leads to.

    Raises:
        Refusal: 403.
    """
    origin = request.headers.get("origin")
    if origin is not None and not {"*", origin} & set(door.settings.cors_origins):
        detail = f"SFUMATO_CORS_ORIGINS does not list {shown(origin)[:200]}"
        raise Refusal(403, "forbidden_origin", detail, field="Origin")
