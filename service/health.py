"""Is this process alive, can it serve, and what do the figures say."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from jobs.scaling import scaling_signal
from service.caller import GUARDED, MetricsCaller
from service.documented import problems
from service.door import DoorDep
from service.latency_metrics import LatencyFigures
from service.representations import View
from service.store_figures import StoreFigures, store_metrics

router = APIRouter(tags=["operation"])


class Alive(View):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(View):
    """The store answers; at zero workers jobs are taken on and wait.

    A door is ready at zero models too: the autoscaler that starts their workers asks through it.
    """

    status: Literal["ok"] = "ok"
    models: int
    workers: int


@router.get("/healthz", summary="Is the process alive", responses=problems())
async def healthz() -> Alive:
    """Answer, whatever state the store is in."""
    return Alive()


@router.get("/readyz", summary="Can jobs be taken on", responses=problems())
async def readyz(door: DoorDep) -> Ready:
    """Answer 200 when the store does, else 503."""
    await door.store.ping()
    return Ready(models=len(await door.models.get()), workers=len(await door.workers.get()))


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Figures read from the store, the same through every door.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            },
        },
        **problems(*GUARDED),
    },
)
async def metrics(request: Request, door: DoorDep, caller: MetricsCaller) -> Response:
    """Return the store's figures, as Prometheus' text or as OpenMetrics, which has exemplars."""
    totals, models, workers, outbox = await asyncio.gather(
        door.store.totals(), door.models.get(), door.workers.get(), door.store.outbox.counts()
    )
    backlogs = await asyncio.gather(*(door.store.backlog(model.name) for model in models))
    latencies = await asyncio.gather(*(door.store.latencies(model.name) for model in models))
    by_name = {model.name: backlog for model, backlog in zip(models, backlogs, strict=True)}
    figures = StoreFigures(
        totals,
        by_name,
        workers,
        [scaling_signal(model, by_name[model.name], workers) for model in models],
        door.settings.memory_high_water_bytes,
        door.settings.max_results_bytes,
        outbox,
    )
    names = (model.name for model in models)
    seconds = LatencyFigures(dict(zip(names, latencies, strict=True)))
    body, content_type = store_metrics(request.headers.get("accept", ""), figures, seconds)
    return Response(body, headers={"content-type": content_type})
