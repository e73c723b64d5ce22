"""OpenAI's Images API, as its own clients call it."""

import base64
import contextlib
import math
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from jobs.catalogue import ModelEntry
from jobs.errors import JobNotFound, JobsError
from jobs.schema import MAX_IMAGES, MAX_STEPS, JobRecord, JobRequest, OutputFormat
from jobs.validation.bounds import KnownFields
from service.api.caller import GUARDED, CallerLinks, JobsCaller
from service.api.jobs import require_json
from service.dialects.dialect import Dialect, first_field, json_error
from service.dialects.drawing import (
    absolute,
    check_ended,
    drawn,
    events_in_time,
    job_of,
    streamed,
)
from service.dialects.retries import key_of_try
from service.door import Door, DoorDep
from service.http.documented import Responses
from service.http.idempotency import parse_key
from service.http.problem import Refusal, printable, refusal_of
from service.resources.links import Links

router = APIRouter(tags=["OpenAI Images"])

MAX_N = 10
MAX_PARTIALS = 3
SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
STEPS_OF_QUALITY = {"low": 0.5, "high": 2.0, "hd": 2.0}
"""Factors of the model's default number of steps; other qualities leave it as it is."""
OURS = {"num_images": "n", "width": "size", "height": "size", "metadata": "user"}
"""Our fields → OpenAI's names for them."""

KINDS = {"authentication_error": 401, "permission_error": 403, "rate_limit_error": 429}
"""OpenAI's error types → statuses."""

Quality = Literal["auto", "standard", "low", "medium", "high", "hd"]


class ImageGeneration(KnownFields):
    """The body of a request; OpenAI's other parameters are refused, not ignored."""

    prompt: str
    model: str | None = None
    n: int | None = Field(None, ge=1, le=min(MAX_N, MAX_IMAGES))
    size: str | None = Field(None, description="`WIDTHxHEIGHT`, or `auto` for the model's own.")
    quality: Quality | None = Field(
        None,
        description="`low` halves the model's default number of steps, `high` and `hd` double it.",
    )
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Literal[100] | None = None
    response_format: Literal["url", "b64_json"] | None = Field(None, description="Default: both.")
    stream: bool | None = None
    partial_images: int | None = Field(None, ge=0, le=MAX_PARTIALS)
    user: str | None = Field(None, max_length=512)
    negative_prompt: str | None = None
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = None
    seed: int | None = None
    sampler: str | None = None

    def job(self, model: ModelEntry) -> JobRequest:
        """Return the job to create. Raises: Refusal, RequestValidationError."""
        if self.stream and (self.n or 1) > 1:
            raise Refusal(400, "invalid_request", "n must be 1 with stream", field="n")
        if self.partial_images and not self.stream:
            detail = "partial_images requires stream=true"
            raise Refusal(400, "invalid_request", detail, field="partial_images")
        steps = self.num_inference_steps or self._steps(model)
        given: dict[str, Any] = {
            "model": model.name,
            "num_images": self.n,
            "output_format": self.output_format,
            "negative_prompt": self.negative_prompt,
            "num_inference_steps": steps,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
            "sampler": self.sampler,
            "metadata": None if self.user is None else {"user": self.user},
            **self._size(),
        }
        partials = self.partial_images or 0
        usual = steps or model.default_steps
        every = max(1, usual // (partials + 1)) if partials else 0
        return job_of({"prompt": self.prompt, "preview": every} | given)

    def _steps(self, model: ModelEntry) -> int | None:
        share = STEPS_OF_QUALITY.get(self.quality or "auto")
        return None if share is None else max(1, math.ceil(share * model.default_steps))

    def _size(self) -> dict[str, int]:
        if self.size in (None, "auto"):
            return {}
        match = SIZE.fullmatch(self.size or "")
        if match is None:
            detail = f"size {self.size!r} is neither WIDTHxHEIGHT nor auto"
            raise Refusal(400, "invalid_request", detail, field="size")
        return {"width": int(match[1]), "height": int(match[2])}


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error as OpenAI's clients expect it."""

    error: ErrorDetail


def _refusals(*statuses: int) -> Responses:
    each: dict[str, Any] = {"model": ErrorBody, "description": "Refused; `error` says why."}
    return {status: each for status in (*statuses, 500, 503)}


_GENERATED: Responses = {
    200: {
        "description": "The images; with `stream`, events up to the finished image.",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {"schema": {"type": "object"}},
        },
    }
}


@router.post(
    "/v1/images/generations",
    summary="Generate images as OpenAI does",
    dependencies=[Depends(require_json)],
    response_class=Response,
    responses=_GENERATED | _refusals(*GUARDED, 400, 408, 409, 413, 415, 501),
)
async def generate(
    request: Request,
    body: ImageGeneration,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    x_stainless_retry_count: Annotated[int, Header(ge=0)] = 0,
) -> Response:
    """Draw images and return them, or stream estimates of one until it is finished."""
    job = body.job(await door.model(body.model))
    key = parse_key(request.headers.getlist("idempotency-key"))
    counts = "x-stainless-retry-count" in request.headers
    if key is None and counts:
        key = await key_of_try(door, caller, job, x_stainless_retry_count)
    if body.stream:
        return await streamed(door, caller, job, key, lambda record: _events(door, body, record))
    record = await drawn(door, request, caller, job, key)
    pictures = [await _picture(door, request, links, body, record, i.index) for i in record.images]
    return JSONResponse(
        {
            "created": int(record.created_at),
            "data": pictures,
            "size": f"{record.spec.width}x{record.spec.height}",
            "output_format": record.spec.output_format,
            "background": "opaque",
            "quality": body.quality or "auto",
        }
    )


async def _picture(
    door: Door, request: Request, links: Links, body: ImageGeneration, record: JobRecord, index: int
) -> dict[str, str]:
    found: dict[str, str] = {}
    if body.response_format != "url":
        image = await door.store.image(record.id, index)
        found["b64_json"] = base64.b64encode(image.data).decode()
    if body.response_format != "b64_json":
        found["url"] = absolute(request, links).image(record.id, index)
    return found


async def _events(door: Door, body: ImageGeneration, record: JobRecord) -> AsyncGenerator[bytes]:
    """Yield the requested number of estimates, spread over the steps, then the image."""
    wanted, sent = body.partial_images or 0, 0
    about = {
        "created_at": int(record.created_at),
        "size": f"{record.spec.width}x{record.spec.height}",
        "quality": body.quality or "auto",
        "background": "opaque",
    }
    try:
        async with contextlib.aclosing(events_in_time(door, record)) as events:
            async for event in events:
                if event.kind != "preview" or sent >= wanted:
                    continue
                if event.data["step"] * (wanted + 1) < record.total_steps * (sent + 1):
                    continue
                yield _frame(
                    "image_generation.partial_image",
                    about
                    | {
                        "b64_json": base64.b64encode(event.data["data"]).decode(),
                        "partial_image_index": sent,
                        "output_format": event.data["content_type"].rpartition("/")[2],
                    },
                )
                sent += 1
        record = await door.store.get(record.id)
        check_ended(record)
        image = await door.store.image(record.id, 0)
    except JobNotFound:
        yield _error(Refusal(404, "not_found", f"job {record.id} was deleted"))
    except JobsError as error:
        yield _error(refusal_of(error))
    except Refusal as refusal:
        yield _error(refusal)
    else:
        yield _frame(
            "image_generation.completed",
            about
            | {
                "b64_json": base64.b64encode(image.data).decode(),
                "output_format": record.spec.output_format,
                "usage": USAGE,
            },
        )


USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Clients expect it; tokens are not counted here."""


def _frame(kind: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=orjson.dumps({"type": kind} | data).decode(), event=kind)


def _error(refusal: Refusal) -> bytes:
    return format_sse_event(data_str=orjson.dumps(error_body(refusal)).decode())


@router.post(
    "/v1/images/edits",
    summary="Not supported",
    status_code=400,
    response_class=Response,
    responses=_refusals(*GUARDED, 400, 408, 413),
)
@router.post(
    "/v1/images/variations",
    summary="Not supported",
    status_code=400,
    response_class=Response,
    responses=_refusals(*GUARDED, 400, 408, 413),
)
async def refuse_edits(caller: JobsCaller) -> Response:
    """Refuse what the service does not support."""
    raise Refusal(400, "not_supported", "images are generated from prompts only")


def error_body(refusal: Refusal) -> dict[str, Any]:
    """Return an error as OpenAI's clients expect it."""
    field = first_field(refusal)
    usual = "server_error" if refusal.status >= 500 else "invalid_request_error"
    kind = next((kind for kind, status in KINDS.items() if status == refusal.status), usual)
    detail = ErrorDetail(
        message=printable(refusal.detail),
        type=kind,
        param=OURS.get(field or "", field),
        code=refusal.code,
    )
    return ErrorBody(error=detail).model_dump()


def refused(refusal: Refusal) -> Response:
    """Return a refusal as OpenAI's API sends it: an invalid request is 400."""
    status = 400 if refusal.status == 422 else refusal.status
    response = json_error(refusal, status, error_body(refusal))
    if status == 500:  # a job that failed: the client would draw it again, twice
        response.headers["x-should-retry"] = "false"
    return response


OPENAI = Dialect("openai", router, re.compile(r"/v1/images/.*", re.DOTALL), refused)
