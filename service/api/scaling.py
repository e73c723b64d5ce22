"""The scaling signal over HTTP, as KEDA's metrics-api trigger reads it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from jobs.scaling import pool_of, scaling_signal, unannounced_signal
from service.api.caller import GUARDED, MetricsCaller
from service.door import DoorDep
from service.http.documented import problems
from service.http.problem import Refusal
from service.resources.representations import ScalingView, scaling_view

router = APIRouter(tags=["operation"])

UnannouncedSeconds = Annotated[
    float | None,
    Query(
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description=(
            "The `backlog_s` to return for a model that no worker has announced, instead of 404, "
            "so that an autoscaler starts its first worker. Above the autoscaler's activation "
            "threshold, at most the target per worker."
        ),
    ),
]


@router.get(
    "/v1/scaling/{model}",
    summary="Get a model's backlog",
    responses=problems(*GUARDED, 404, 422),
)
async def get_scaling(
    model: str, door: DoorDep, caller: MetricsCaller, unannounced_s: UnannouncedSeconds = None
) -> ScalingView:
    """Return a model's outstanding work in seconds of one worker; scale on ``backlog_s``.

    A model that no worker has ever announced is unknown and gives 404, unless the request has
    ``unannounced_s``. Start one worker, which announces it.
    """
    known, workers = await asyncio.gather(door.catalogue(), door.workers.get())
    for entry in known:
        if entry.name == model:
            pool = await pool_of(entry, known, door.backlog)
            signal = scaling_signal(entry, await door.backlog(model), workers, pool)
            return scaling_view(signal)
    if unannounced_s is None:
        raise Refusal(404, "unknown_model", f"no worker has ever announced a model {model!r}")
    door.counters.scaling_unannounced.inc()
    return scaling_view(unannounced_signal(model, unannounced_s, workers))
