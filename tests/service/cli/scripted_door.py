"""A door in the client's own process that answers with one job, drawn or failed."""

import io
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
from PIL import Image

from service.client.client import Sfumato
from service.client.views import (
    ImageView,
    JobStatus,
    JobView,
    Problem,
    ProgressView,
    RequestView,
    TimingsView,
)
from service.resources.representations import ModelList, ModelView
from tests.jobs.examples import MODEL, spec

AT = datetime(2026, 1, 1, tzinfo=UTC)


def picture() -> bytes:
    """Return a small PNG."""
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(written, "PNG")
    return written.getvalue()


def job(error: str | None = None, **fields: Any) -> JobView:
    """Return a job that has ended."""
    drawn = spec(**fields)
    problem = None
    if error is not None:
        problem = Problem(type="about:blank", title="x", status=500, detail=error, code="internal")
    images = tuple(
        ImageView(
            index=index, url=f"/v1/jobs/j/images/{index}", seed=drawn.seed + index, width=8,
            height=8,
            content_type="image/png", size_bytes=100,
        )
        for index in range(drawn.num_images)
    )  # fmt: skip
    return JobView(
        id="j", status=JobStatus.SUCCEEDED if error is None else JobStatus.FAILED, created_at=AT,
        started_at=AT, finished_at=AT, progress=ProgressView(step=10, total=10, fraction=1.0),
        queue_position=None, eta_s=None, request=RequestView(**drawn.model_dump()),
        images=images if error is None else (),
        preview_url=None, events_url="/v1/jobs/j/events", attempts=1, worker="w", error=problem,
        timings=TimingsView(queued_s=0.0, running_s=1.0, evaluations=10),
    )  # fmt: skip


def scripted(ended: JobView, refusal: str | None = None) -> Sfumato:
    """Return a client of a door that has this job, or refuses all with this detail."""
    stream = b"".join(
        b"event: %s\ndata: %s\nid: 1-%d\n\n" % (kind, orjson.dumps(data | {"attempt": 1}), number)
        for number, (kind, data) in enumerate(_events(ended))
    )

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if refusal is not None:
            body = Problem(type="x", title="x", status=422, detail=refusal, code="invalid_request")
            return httpx.Response(422, content=body.model_dump_json())
        if path.endswith("/events"):
            return httpx.Response(
                200, headers={"content-type": "text/event-stream"}, content=stream
            )
        if "/images/" in path:
            return httpx.Response(200, content=picture())
        if path.endswith("/models"):
            models = ModelList(models=(ModelView(**MODEL.model_dump(), warm=True),))
            return httpx.Response(200, content=models.model_dump_json())
        return httpx.Response(200, content=ended.model_dump_json())

    return Sfumato(transport=httpx.MockTransport(answer))


def _events(ended: JobView) -> list[tuple[bytes, dict[str, Any]]]:
    whole = ended.model_dump(mode="json")
    return [(b"progress", {"step": 5, "total": 10, "eta_s": 1.0}), (b"result", whole)]
