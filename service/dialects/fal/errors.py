"""Errors in the shape of fal's API."""

from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from service.api.caller import GUARDED
from service.dialects.dialect import json_error
from service.http.documented import Responses
from service.http.problem import Refusal, printable
from service.resources.representations import FieldProblem

THEIRS = {
    "width": "image_size", "height": "image_size", "sampler": "scheduler",
    "deadline_s": "X-Fal-Request-Timeout", "priority": "X-Fal-Queue-Priority",
}  # fmt: skip
"""Our fields → fal's names for them."""
STATUSES = {"not_drawn": 400, "unknown_model": 404}
"""Codes → statuses that differ here: fal's clients retry after 409."""


class ArgumentError(BaseModel):
    """What is wrong with one argument."""

    loc: list[str]
    msg: str
    type: str


class ArgumentErrors(BaseModel):
    """Everything that is wrong with a request, as fal's clients expect it."""

    detail: list[ArgumentError]


class ErrorBody(BaseModel):
    """Any other error."""

    detail: str
    error_type: str


def responses(
    description: str, *refused: int, success: int = 200, media: str = "application/json"
) -> Responses:
    """Return a route's responses; any may answer 500 and 503."""
    error = {"description": "Refused; `detail` says why."}
    return {
        success: {"description": description, "content": {media: {"schema": {"type": "object"}}}},
        422: error | {"model": ArgumentErrors},
        **{each: error | {"model": ErrorBody} for each in (*GUARDED, 404, 500, 503, *refused)},
    }


def error_body(refusal: Refusal) -> dict[str, Any]:
    """Return an error as fal's clients expect it."""
    if STATUSES.get(refusal.code, refusal.status) != 422:
        return ErrorBody(detail=printable(refusal.detail), error_type=refusal.code).model_dump()
    fields = refusal.fields or (FieldProblem(field="", detail=refusal.detail),)
    found = [
        ArgumentError(
            loc=_place(THEIRS.get(each.field, each.field)),
            msg=printable(each.detail),
            type=refusal.code,
        )
        for each in fields
    ]
    return ArgumentErrors(detail=found).model_dump()


def _place(field: str) -> list[str]:
    """Return where a field is: fal's headers and ours have hyphens, arguments have none."""
    within = "query" if field in ("fal_webhook", "logs") else "header" if "-" in field else "body"
    return [within, *printable(field).split(".")] if field else [within]


def refused(refusal: Refusal) -> Response:
    """Return a refusal as fal's API sends it."""
    refusal.headers["x-fal-error-type"] = refusal.code
    return json_error(refusal, STATUSES.get(refusal.code, refusal.status), error_body(refusal))
