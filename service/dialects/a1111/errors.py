"""Errors in the shape of AUTOMATIC1111's API."""

from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from service.api.caller import GUARDED
from service.dialects.dialect import json_error
from service.http.documented import Responses
from service.http.problem import Refusal, printable


class ErrorBody(BaseModel):
    """An error as AUTOMATIC1111's clients expect it."""

    error: str
    detail: str
    body: str = ""
    errors: str = ""


_ERROR: dict[str, Any] = {"model": ErrorBody, "description": "Refused; `detail` says why."}
ANSWERS: Responses = {
    status: _ERROR for status in (*GUARDED, 400, 404, 408, 409, 413, 415, 422, 500, 501, 503)
}
"""Of every route."""


def unserved(name: str) -> Refusal:
    """Return the refusal of an unsupported option, by its name."""
    shown = printable(name)[:96]
    return Refusal(422, "invalid_request", f"{shown} is not supported", field=shown)


def refused(refusal: Refusal) -> Response:
    """Return a refusal as AUTOMATIC1111's API sends it."""
    error = ErrorBody(error=refusal.code, detail=printable(refusal.detail))
    response = json_error(refusal, refusal.status, error.model_dump())
    if refusal.status == 401:
        response.headers["www-authenticate"] = 'Bearer, Basic realm="sfumato"'
    return response
