"""Hugging Face's text-to-image task, as ``InferenceClient.text_to_image`` calls it."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from jobs.schema import MAX_STEPS, OutputFormat
from jobs.validation.bounds import KnownFields
from service.api.caller import GUARDED, JobsCaller
from service.api.jobs import require_json
from service.dialects.dialect import Dialect, json_error
from service.dialects.drawing import drawn, job_of
from service.door import DoorDep
from service.http.documented import Responses
from service.http.idempotency import parse_key
from service.http.problem import Refusal, printable

router = APIRouter(tags=["Hugging Face text-to-image"])

FORMATS: dict[str, OutputFormat] = {
    "image/png": "png", "image/webp": "webp", "image/jpeg": "jpeg", "image/avif": "avif",
    "image/*": "png", "*/*": "png",
}  # fmt: skip
"""What a client may accept."""


class Parameters(KnownFields):
    """How the image is drawn."""

    negative_prompt: str | None = None
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    scheduler: str | None = Field(None, description="A sampler from `/v1/samplers`.")


class TextToImage(KnownFields):
    """The body of a request."""

    inputs: str = Field(description="The prompt.")
    parameters: Parameters = Parameters()


class ErrorBody(BaseModel):
    """An error as Hugging Face's clients read it."""

    error: str


_ERROR: dict[str, Any] = {"model": ErrorBody, "description": "Refused; `error` says why."}
_ANSWERS: Responses = {
    200: {
        "description": "The image, in the format of `Accept`.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in FORMATS
            if "*" not in kind
        },
    },
    **{
        status: _ERROR
        for status in (*GUARDED, 400, 404, 406, 408, 409, 413, 415, 422, 500, 501, 503)
    },
}


@router.post(
    "/hf-inference/models/{model:path}",
    summary="Draw an image as Hugging Face does",
    dependencies=[Depends(require_json)],
    response_class=Response,
    responses=_ANSWERS,
)
@router.post(
    "/models/{model:path}",
    summary="Draw an image as Hugging Face does",
    dependencies=[Depends(require_json)],
    response_class=Response,
    responses=_ANSWERS,
)
async def text_to_image(
    request: Request,
    model: str,
    body: TextToImage,
    door: DoorDep,
    caller: JobsCaller,
    accept: Annotated[str, Header(description="The image's format.")] = "*/*",
) -> Response:
    """Draw an image and answer with its bytes."""
    job = job_of(
        body.parameters.model_dump(exclude={"scheduler"})
        | {
            "prompt": body.inputs,
            "model": model,
            "sampler": body.parameters.scheduler,
            "output_format": _format(accept),
            "preview": 0,
        }
    )
    key = parse_key(request.headers.getlist("idempotency-key"))
    record = await drawn(door, request, caller, job, key)
    image = await door.store.image(record.id, 0)
    headers = {"cache-control": "no-store", "x-job-id": record.id}
    return Response(image.data, headers=headers, media_type=image.record.content_type)


def _format(accept: str) -> OutputFormat:
    """Return the first format that a client accepts. Raises: Refusal, 406."""
    kinds = [each.partition(";")[0].strip().lower() for each in accept.split(",")]
    for kind in kinds:
        if kind in FORMATS:
            return FORMATS[kind]
    detail = f"none of {', '.join(kinds)[:200]} is served; available: {', '.join(FORMATS)}"
    raise Refusal(406, "not_acceptable", detail, field="Accept")


def refused(refusal: Refusal) -> Response:
    """Return a refusal as Hugging Face's API sends it."""
    error = ErrorBody(error=printable(refusal.detail))
    return json_error(refusal, refusal.status, error.model_dump())


HUGGING_FACE = Dialect(
    "hugging_face", router, re.compile(r"/(hf-inference/)?models/.*", re.DOTALL), refused
)
