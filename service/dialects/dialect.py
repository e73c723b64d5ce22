"""What makes up a dialect: its routes, and how an error looks to its clients."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from service.http.problem import Refusal, printable


@dataclass(frozen=True)
class Dialect:
    """An API of somebody else's."""

    name: str  # as the settings call it
    router: APIRouter
    # of requests whose errors have its shape, which `refused` gives; None: problems, as our own
    paths: re.Pattern[str] | None = None
    refused: Callable[[Refusal], Response] | None = None


def json_error(refusal: Refusal, status: int, body: dict[str, Any]) -> Response:
    """Return an error of a dialect's own shape."""
    headers = {"cache-control": "no-store"} | refusal.headers
    return JSONResponse(body, status_code=status, headers=headers)


def first_field(refusal: Refusal) -> str | None:
    """Return the first field that a refusal names, if it names one."""
    return printable(refusal.fields[0].field) if refusal.fields else None
