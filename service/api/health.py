"""Liveness, readiness and metrics."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from jobs.scaling import others, scaling_signal
from service.api.caller import GUARDED, MetricsCaller
from service.door import DoorDep
from service.http.documented import problems
from service.metrics.store import StoreFigures, store_metrics
from service.resources.representations import View

router = APIRouter(tags=["operation"])


class Alive(View):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(View):
    """The store answers. Jobs are accepted without workers too, and wait.

    A door is ready without models as well: the autoscaler that starts workers reads its signal
    from the door.
    """

    status: Literal["ok"] = "ok"
    models: int
    workers: int


@router.get("/healthz", summary="Check liveness", responses=problems())
async def healthz() -> Alive:
    """Answer 200, whatever the state of the store."""
    return Alive()


@router.get("/readyz", summary="Check readiness", responses=problems())
async def readyz(door: DoorDep) -> Ready:
    """Answer 200 if the store is available and loses no job, else 503."""
    await door.store.ping()
    models, workers = await door.catalogue(), await door.workers.get()
    return Ready(models=len(models), workers=len(workers))


@router.get(
    "/metrics",
    summary="Get metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics read from the store, the same at every door.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        },
        **problems(*GUARDED),
    },
)
async def metrics(request: Request, door: DoorDep, caller: MetricsCaller) -> Response:
    """Return the store's metrics as Prometheus text or as OpenMetrics, which has exemplars."""
    totals, models, workers, outbox = await asyncio.gather(
        door.store.totals(), door.catalogue(), door.workers.get(), door.store.outbox.counts()
    )
    names = [model.name for model in models]
    backlogs = await asyncio.gather(*(door.store.backlog(name) for name in names))
    work = dict(zip(names, backlogs, strict=True))
    latencies = await asyncio.gather(*(door.store.latencies(name) for name in names))
    figures = StoreFigures(
        totals=totals,
        backlogs=work,
        latencies=dict(zip(names, latencies, strict=True)),
        workers=workers,
        signals=[
            scaling_signal(m, work[m.name], workers, [(o, work[o.name]) for o in others(m, models)])
            for m in models
        ],
        results_limit_bytes=door.settings.max_results_bytes,
        records_limit_bytes=door.settings.max_records_bytes,
        outbox=outbox,
    )
    body, content_type = store_metrics(request.headers.get("accept", ""), figures)
    return Response(body, headers={"content-type": content_type})
