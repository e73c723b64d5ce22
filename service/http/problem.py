"""All errors as RFC 9457 ``application/problem+json``: which exception gives which HTTP status."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from jobs import errors
from service.http.documented import MEDIA_TYPE, allowed_methods
from service.resources.representations import FieldProblem, Problem

log = structlog.get_logger()

_HTTP_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_JOBS_ERRORS: dict[type[errors.JobsError], tuple[int, str]] = {
    errors.UnknownModel: (422, "unknown_model"),
    errors.InvalidRequest: (422, "invalid_request"),
    errors.IdempotencyConflict: (422, "idempotency_conflict"),
    errors.InvalidCursor: (400, "invalid_cursor"),
    errors.JobNotFound: (404, "not_found"),
    errors.NotBegun: (409, "not_begun"),
    errors.UnreadableRecord: (500, "unreadable_record"),
    errors.ResultExpired: (410, "result_expired"),
    errors.LargerThanQuota: (422, "larger_than_quota"),
    errors.DeadlineUnmeetable: (422, "deadline_unmeetable"),
    errors.QuotaExceeded: (429, "quota_exceeded"),
    errors.BacklogFull: (429, "backlog_full"),
    errors.DurabilityUnsupported: (501, "durability_unsupported"),
    errors.NotDurable: (503, "not_durable"),
    errors.StoreFull: (503, "store_full"),
    errors.StoreEvicts: (503, "store_evicts"),
    errors.NewerSchema: (503, "newer_version"),  # an upgrade is under way: another door may read it
    errors.TransientStoreError: (503, "store_unavailable"),
}
_FIELDS = {
    "idempotency_conflict": "Idempotency-Key",
    "deadline_unmeetable": "deadline_s",
    "durability_unsupported": "durable",
}
_RETRY_AFTER_S = {
    "store_full": 30, "store_evicts": 30, "store_unavailable": 2, "not_durable": 2,
    "newer_version": 2,
}  # fmt: skip
_HIDDEN = {  # what the error says is for the log: it may name hosts and ports
    "internal_error": "internal error; the log has the details",
    "store_unavailable": "the job store is unavailable; accepted jobs are kept",
}

MAX_ERRORS = 20
"""Invalid fields that a problem lists; its text says how many there are."""


class Refusal(Exception):
    """A request that the door refuses; it becomes a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        fields: Sequence[FieldProblem] = (),
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        named = () if field is None else (FieldProblem(field=field, detail=detail),)
        self.fields = (*named, *fields)
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        self.figures = dict(figures or {})  # members of the problem beside those of RFC 9457


def problem_response(scope: Scope, refusal: Refusal) -> Response:
    """Return a refusal as a response; its code is recorded in the request's state.

    Where the path is a dialect's it has that dialect's shape.
    """
    state = scope.setdefault("state", {})
    state["problem"] = refusal.code
    app = scope.get("app")
    for dialect in getattr(app and app.state, "dialects", ()):
        if dialect.paths and dialect.paths.fullmatch(str(scope.get("path", ""))):
            response: Response = dialect.refused(refusal)
            return response
    problem = Problem(
        type=f"urn:sfumato:problem:{refusal.code}",
        title=refusal.code.replace("_", " ").capitalize(),
        status=refusal.status,
        detail=printable(refusal.detail),
        instance=printable(str(scope.get("path", ""))),
        code=refusal.code,
        errors=refusal.fields,
        request_id=state.get("request_id"),
        **refusal.figures,
    )
    return Response(
        problem.model_dump_json(),
        status_code=refusal.status,
        headers={"cache-control": "no-store"} | refusal.headers,
        media_type=MEDIA_TYPE,
    )


def printable(text: str) -> str:
    """Return the text with characters replaced that UTF-8 cannot encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def install(app: FastAPI) -> None:
    """Make the application answer every error with a problem."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(errors.JobsError, _jobs_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem_response(request.scope, error)


async def _jobs_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.JobsError)
    refusal = refusal_of(error)
    if refusal.status >= 500:
        log.warning("request refused", code=refusal.code, reason=str(error))
    return problem_response(request.scope, refusal)


def refusal_of(error: errors.JobsError) -> Refusal:
    """Return the refusal for an error of the job contract."""
    known = (_JOBS_ERRORS[kind] for kind in type(error).__mro__ if kind in _JOBS_ERRORS)
    status, code = next(known, (500, "internal_error"))
    headers = {}
    if isinstance(error, errors.NotDurable) and error.kept:
        # A client that retries without an idempotency key makes a second job.
        headers["location"] = f"/v1/jobs/{error.job_id}"
    given = vars(error)
    return Refusal(
        status,
        code,
        _HIDDEN.get(code) or str(error),
        field=given.get("field", _FIELDS.get(code)),
        fields=[FieldProblem(field=name, detail=str(error)) for name in given.get("others", ())],
        retry_after_s=given.get("retry_after_s", _RETRY_AFTER_S.get(code)),
        headers=headers,
        figures={name: given[name] for name in ("quota_units", "earliest_s") if name in given},
    )


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(request.scope, invalid(error.errors()))


def invalid(found: Sequence[Any]) -> Refusal:
    """Return the refusal of a request with these errors, as pydantic lists them."""
    if any(each["type"] == "json_invalid" for each in found):
        reason = str(found[0].get("ctx", {}).get("error", "malformed"))
        detail = f"the body is not JSON: {reason} at character {found[0]['loc'][-1]}"
        return Refusal(400, "malformed_request", detail)
    fields = [
        FieldProblem(field=_field(each["loc"]), detail=_reason(each)) for each in found[:MAX_ERRORS]
    ]
    detail = "; ".join(f"{each.field}: {each.detail}" for each in fields[:5])
    if len(found) > 5:
        detail += f"; {len(found) - 5} more"
    return Refusal(422, "invalid_request", detail, fields=fields)


def _field(loc: Sequence[Any]) -> str:
    return printable(".".join(str(part) for part in (loc[1:] or loc)))[:200]


def _reason(error: Mapping[str, Any]) -> str:
    texts = {"extra_forbidden": "unknown field", "missing": "required"}
    return texts.get(error["type"]) or printable(str(error["msg"]))[:300]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404:
        detail = f"nothing found at {request.url.path}"
    elif error.status_code == 405:
        detail = f"{request.url.path} does not support {request.method}"
        allowed = allowed_methods(request.app.openapi(), request.url.path)
        headers = {"allow": allowed} if allowed else headers
    return problem_response(
        request.scope, Refusal(error.status_code, code, detail, headers=headers)
    )
