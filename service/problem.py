"""Every error as RFC 9457 ``application/problem+json``; the only place that knows HTTP codes of
errors.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from jobs.errors import (
    BacklogFull,
    DeadlineUnmeetable,
    DurabilityUnsupported,
    IdempotencyConflict,
    InvalidCursor,
    InvalidRequest,
    JobNotFound,
    JobsError,
    LargerThanQuota,
    NewerSchema,
    NotDurable,
    QuotaExceeded,
    ResultExpired,
    StoreFull,
    StoreTrouble,
    UnknownModel,
    UnreadableRecord,
)
from service.documented import MEDIA_TYPE, allowed_methods
from service.representations import FieldProblem, Problem

log = structlog.get_logger()

RETRY_AFTER_S = 2  # when Redis is away or full

TITLES = {
    "internal_error": "The service made a mistake",
    "malformed_request": "The request cannot be read",
    "invalid_request": "The request is not valid",
    "unknown_model": "There is no such model",
    "no_model": "No model has been announced yet",
    "key_required": "An API key is asked for",
    "invalid_key": "The API key is not good",
    "forbidden": "The API key lacks the right for this",
    "invalid_signature": "The link's signature is not good",
    "link_expired": "The link's time is over",
    "rate_limited": "Too many requests",
    "not_found": "There is nothing here",
    "method_not_allowed": "This method is not for this path",
    "unsupported_media_type": "The body has the wrong content type",
    "body_too_large": "The body is too large",
    "idempotency_conflict": "The idempotency key belongs to another request",
    "invalid_idempotency_key": "The idempotency key is malformed",
    "invalid_cursor": "This cursor or event id was never given out",
    "durability_unsupported": "The service cannot confirm that a job would survive its store",
    "not_durable": "The job is not known to survive its store",
    "unreadable_record": "The job's stored record is damaged",
    "newer_version": "A newer version of the service made this job",
    "result_expired": "The picture is past its time to live",
    "backlog_full": "Too much work waits already",
    "quota_exceeded": "The tenant has as much outstanding as it may have",
    "larger_than_quota": "The job is larger than the tenant's quota",
    "deadline_unmeetable": "The deadline cannot be met",
    "store_full": "The store has no room for more jobs",
    "store_unavailable": "The store does not answer",
}
_HTTP_CODES = {
    400: "malformed_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


class Refusal(Exception):
    """A request that the door itself refuses; it becomes a problem."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = () if field is None else (FieldProblem(field=field, detail=detail),)
        self.headers = dict(headers or {})
        self.figures = dict(figures or {})  # members of the problem beside those of RFC 9457


def problem_response(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    figures: Mapping[str, float] | None = None,
) -> Response:
    """Return the answer that tells of a problem; its code is left in the request's state."""
    scope.setdefault("state", {})["problem"] = code
    problem = Problem(
        type=f"urn:sfumato:problem:{code}",
        title=TITLES.get(code) or HTTPStatus(status).phrase,
        status=status,
        detail=printable(detail),
        instance=printable(str(scope.get("path", ""))),
        code=code,
        errors=tuple(errors),
        request_id=scope.get("state", {}).get("request_id"),
        **(figures or {}),
    )
    return Response(
        problem.model_dump_json(),
        status_code=status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def printable(text: str) -> str:
    """Return the text with what UTF-8 cannot carry replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def install(app: FastAPI) -> None:
    """Have the application answer every error with a problem."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(JobsError, _jobs_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem_response(
        request.scope,
        error.status,
        error.code,
        error.detail,
        errors=error.errors,
        headers=error.headers,
        figures=error.figures,
    )


async def _jobs_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobsError)
    refusal = refusal_of(error)
    if refusal.status >= 500:
        log.warning("refused", code=refusal.code, reason=str(error))
    return await _refused(request, refusal)


def refusal_of(error: JobsError) -> Refusal:
    """Return the HTTP side of an error of the job contract."""
    text = str(error)
    match error:
        case UnknownModel():
            return Refusal(422, "unknown_model", text, field=error.field)
        case InvalidRequest():
            return Refusal(422, "invalid_request", text, field=error.field)
        case IdempotencyConflict():
            return Refusal(422, "idempotency_conflict", text, field="Idempotency-Key")
        case InvalidCursor():
            return Refusal(400, "invalid_cursor", text)
        case JobNotFound():
            return Refusal(404, "not_found", text)
        case UnreadableRecord():
            return Refusal(500, "unreadable_record", text)
        case ResultExpired():
            return Refusal(410, "result_expired", text)
        case BacklogFull() | QuotaExceeded() | LargerThanQuota() | DeadlineUnmeetable():
            return _too_much(error)
        case StoreTrouble() | DurabilityUnsupported() | NewerSchema():
            return _not_now(error)
        case _:
            return Refusal(500, "internal_error", "the service made a mistake; it has been logged")


def _too_much(
    error: BacklogFull | QuotaExceeded | LargerThanQuota | DeadlineUnmeetable,
) -> Refusal:
    """Return a refusal for the work that is outstanding already."""
    match error:
        case LargerThanQuota():
            figures = {"quota_units": error.quota_units}
            return Refusal(422, "larger_than_quota", str(error), figures=figures)
        case DeadlineUnmeetable():
            figures = {"earliest_s": round(error.earliest_s, 3)}
            return Refusal(
                422, "deadline_unmeetable", str(error), field="deadline_s", figures=figures
            )
    wait = {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
    if isinstance(error, QuotaExceeded):
        figures = {"quota_units": error.quota_units}
        return Refusal(429, "quota_exceeded", str(error), headers=wait, figures=figures)
    return Refusal(429, "backlog_full", str(error), headers=wait)


def _not_now(error: JobsError) -> Refusal:
    """Return a refusal of what may be served a little later."""
    wait = {"retry-after": str(RETRY_AFTER_S)}
    match error:
        case DurabilityUnsupported():
            return Refusal(501, "durability_unsupported", str(error), field="durable")
        case NotDurable():
            if error.kept:  # a client that asks again without an idempotency key makes another job
                wait["location"] = f"/v1/jobs/{error.job_id}"
            return Refusal(503, "not_durable", str(error), headers=wait)
        case StoreFull():
            return Refusal(503, "store_full", str(error), headers={"retry-after": "30"})
        case NewerSchema():  # an upgrade is under way: the next door may know it
            return Refusal(503, "newer_version", str(error), headers=wait)
        case _:  # the text would name hosts and ports; that is for the log
            detail = "the job store does not answer; jobs that were accepted are kept"
            return Refusal(503, "store_unavailable", detail, headers=wait)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        reason = str(found[0].get("ctx", {}).get("error", "malformed"))
        place = found[0]["loc"][-1]
        detail = f"the body is not JSON: {reason} at character {place}"
        return problem_response(request.scope, 400, "malformed_request", detail)
    errors = [FieldProblem(field=_field(each["loc"]), detail=_reason(each)) for each in found]
    detail = "; ".join(f"{each.field}: {each.detail}" for each in errors[:5])
    return problem_response(request.scope, 422, "invalid_request", detail, errors=errors)


def _field(loc: Sequence[Any]) -> str:
    inner = [str(part) for part in loc[1:]] if len(loc) > 1 else [str(part) for part in loc]
    return printable(".".join(inner))[:200]


def _reason(error: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "missing":
        return "required"
    return printable(str(error["msg"]))[:300]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "invalid_request")
    detail = str(error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        detail = f"there is nothing at {request.url.path}"
    elif error.status_code == 405:
        detail = f"{request.method} is not for this path"
        allowed = allowed_methods(request.app.openapi(), request.url.path)
        headers = {"allow": allowed} if allowed else headers
    return problem_response(request.scope, error.status_code, code, detail, headers=headers)
