"""Responses to fal's clients: a job's place in the queue, its estimates, its images."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Request
from fastapi.sse import format_sse_event

from jobs.errors import JobsError
from jobs.schema import JobRecord, JobStatus, WarningCode
from service.dialects.drawing import check_ended, data_url, events_in_time
from service.dialects.fal.errors import error_body
from service.door import Door
from service.http.problem import Refusal, refusal_of
from service.resources.links import Links
from service.resources.representations import moment

OWNER = "sfumato"
"""The owner in the URLs of requests."""


def by_https(request: Request, links: Links) -> Links:
    """Return links that fal's clients can open: always HTTPS, since they speak nothing else."""
    if links.public_url:
        return links
    return replace(links, public_url=str(request.base_url.replace(scheme="https")).rstrip("/"))


async def status_of(door: Door, links: Links, job: JobRecord, *, logs: bool) -> dict[str, Any]:
    """Return a request's status with its URLs and, with ``logs``, its log once it has started."""
    url = f"{links.public_url}/fal/queue/{OWNER}/{job.spec.model}/requests/{job.id}"
    body: dict[str, Any] = {
        "request_id": job.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
    }
    if job.status is JobStatus.QUEUED:
        place = await door.store.queue_position(job)
        ahead = 0 if place is None else place.position - 1
        return body | {"status": "IN_QUEUE", "queue_position": ahead}
    body["logs"] = _logs(job) if logs else None
    if job.status is JobStatus.RUNNING:
        return body | {"status": "IN_PROGRESS"}
    try:
        check_ended(job)
    except Refusal as refusal:
        body |= {"error": refusal.detail, "error_type": refusal.code}
    return body | {"status": "COMPLETED", "metrics": {"inference_time": job.running_s}}


def _logs(job: JobRecord) -> list[dict[str, str]]:
    """Return the log of a job that has started."""
    now = datetime.now(UTC)
    began = moment(job.started_at) or now
    lines = [(began, "INFO", f"started, {job.total_steps} steps")]
    lines += [(began, "WARN", warning.detail) for warning in job.warnings]
    if job.status is JobStatus.RUNNING:
        lines.append((now, "INFO", f"step {job.step} of {job.total_steps}"))
    else:
        lines.append((moment(job.finished_at) or now, "INFO", str(job.status)))
    return [
        {"timestamp": at.isoformat(), "level": level, "message": message}
        for at, level, message in lines
    ]


async def result_of(door: Door, links: Links, job: JobRecord) -> dict[str, Any]:
    """Return a job's images. Raises: Refusal, it has none (yet); ResultExpired."""
    check_ended(job)
    blurred = any(each.code == WarningCode.CONTENT_BLURRED for each in job.warnings)
    return {
        "images": [
            {
                "url": await _url(door, links, job, image.index),
                "width": image.width,
                "height": image.height,
                "content_type": image.content_type,
            }
            for image in job.images
        ],
        "seed": job.spec.seed,
        "prompt": job.spec.prompt,
        "has_nsfw_concepts": [blurred] * len(job.images),
        "timings": {"inference": job.running_s},
    }


async def _url(door: Door, links: Links, job: JobRecord, index: int) -> str:
    if "sync_mode" not in job.spec.metadata:
        return links.image(job.id, index)
    image = await door.store.image(job.id, index)
    return data_url(image.record.content_type, image.data)


async def events_of(door: Door, links: Links, job: JobRecord) -> AsyncGenerator[bytes]:
    """Yield each estimate of a job's image in the shape of its result, then the result."""
    about = {"seed": job.spec.seed, "prompt": job.spec.prompt}
    try:
        async with contextlib.aclosing(events_in_time(door, job)) as events:
            async for event in events:
                if event.kind == "preview":
                    kind, data = event.data["content_type"], event.data["data"]
                    image = {"url": data_url(kind, data), "content_type": kind}
                    yield _frame(about | {"images": [image]})
        yield _frame(await result_of(door, links, await door.store.get(job.id)))
    except (Refusal, JobsError) as error:
        refusal = error if isinstance(error, Refusal) else refusal_of(error)
        yield _frame(error_body(refusal), kind="error")


def _frame(data: dict[str, Any], kind: str | None = None) -> bytes:
    return format_sse_event(data_str=orjson.dumps(data).decode(), event=kind)
