"""The calls of a door's API."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict
from urllib.parse import quote

from pydantic import TypeAdapter

from .call import Call
from .views import JobList, JobView, Manifest, ModelList, SamplerList, WorkerView

_WORKERS = TypeAdapter(list[WorkerView])


class WebhookOptions(TypedDict):
    """A URL that is called when the job ends."""

    url: str
    events: NotRequired[Sequence[str]]


class PreviewOptions(TypedDict, total=False):
    """Which previews are sent."""

    every: int
    of: Literal["estimate", "sample"]
    size: int | None


class Options(TypedDict, total=False):
    """A job's options besides its prompt; those that are absent or None have their defaults.

    The door's ``/docs`` describes each field and its bounds.
    """

    model: str | None
    negative_prompt: str | None
    prompt_syntax: Literal["plain", "a1111", "a1111_mean"] | None
    num_inference_steps: int | None
    sampler: str | None
    schedule: str | None
    eta: float | None
    guidance_scale: float | None
    guidance_rescale: float | None
    seed: int | None
    width: int | None
    height: int | None
    num_images: int | None
    priority: Literal["high", "normal", "low"] | None
    deadline_s: float | None
    on_disconnect: Literal["continue", "cancel"] | None
    preview: int | PreviewOptions | None
    output_format: Literal["png", "webp", "jpeg", "avif"] | None
    webhook: WebhookOptions | None
    durable: Literal["relaxed", "strict"] | None
    metadata: Mapping[str, str] | None


def submit(prompt: str, key: str | None, options: Options) -> Call[JobView]:
    """Submit a job; every attempt of the call has its idempotency key."""
    body = {"prompt": prompt} | {k: v for k, v in options.items() if v is not None}
    headers = {"idempotency-key": f'"{key or uuid.uuid4()}"'}
    return Call("POST", "/v1/jobs", JobView.model_validate_json, {"json": body, "headers": headers})


def get(job_id: str) -> Call[JobView]:
    """Get a job."""
    return Call("GET", job_path(job_id), JobView.model_validate_json)


def jobs(status: str | None, limit: int, cursor: str | None) -> Call[JobList]:
    """Get a page of jobs."""
    given = {"status": status, "limit": limit, "cursor": cursor}
    params = {name: value for name, value in given.items() if value is not None}
    return Call("GET", "/v1/jobs", JobList.model_validate_json, {"params": params})


def finish(job_id: str) -> Call[JobView]:
    """End a running job at its current step."""
    return Call("POST", f"{job_path(job_id)}/finish", JobView.model_validate_json)


def cancel(job_id: str) -> Call[JobView]:
    """Cancel a job."""
    return Call("POST", f"{job_path(job_id)}/cancel", JobView.model_validate_json)


def delete(job_id: str) -> Call[None]:
    """Delete a job."""
    return Call("DELETE", job_path(job_id), lambda _: None)


def image(job_id: str, index: int) -> Call[bytes]:
    """Get a finished image."""
    return Call("GET", f"{job_path(job_id)}/images/{index}", bytes)


def preview(job_id: str) -> Call[bytes]:
    """Get the latest preview."""
    return Call("GET", f"{job_path(job_id)}/preview", bytes)


def manifest(job_id: str) -> Call[Manifest]:
    """Get an ended job's manifest."""
    return Call("GET", f"{job_path(job_id)}/manifest", Manifest.model_validate_json)


def models() -> Call[ModelList]:
    """Get the models."""
    return Call("GET", "/v1/models", ModelList.model_validate_json)


def samplers() -> Call[SamplerList]:
    """Get the samplers."""
    return Call("GET", "/v1/samplers", SamplerList.model_validate_json)


def workers() -> Call[list[WorkerView]]:
    """Get the live workers."""
    return Call("GET", "/v1/workers", _WORKERS.validate_json)


def ready() -> Call[None]:
    """Ask whether the door accepts jobs."""
    return Call("GET", "/readyz", lambda _: None)


def job_path(job_id: str) -> str:
    """Return a job's path; the id is escaped, so it cannot lead anywhere else."""
    return "/v1/jobs/" + quote(job_id, safe="").replace(".", "%2E")
