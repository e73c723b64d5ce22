"""A dialect: another service's API, with its routes and its shape of errors."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from service.http.problem import Refusal, printable


@dataclass(frozen=True)
class Dialect:
    """Another service's API."""

    name: str  # as the settings call it
    router: APIRouter
    # requests whose errors `refused` gives its own shape; None: problem details, as in our own API
    paths: re.Pattern[str] | None = None
    refused: Callable[[Refusal], Response] | None = None


def json_error(refusal: Refusal, status: int, body: dict[str, Any]) -> Response:
    """Return an error in a dialect's own shape."""
    headers = {"cache-control": "no-store"} | refusal.headers
    return JSONResponse(body, status_code=status, headers=headers)


def first_field(refusal: Refusal) -> str | None:
    """Return the first field that a refusal names, if it names one."""
    return printable(refusal.fields[0].field) if refusal.fields else None
