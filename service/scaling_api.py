"""The scaling signal over HTTP, in the form that KEDA's metrics-api trigger reads."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from jobs.scaling import scaling_signal, unannounced_signal
from service.caller import GUARDED, MetricsCaller
from service.documented import problems
from service.door import DoorDep
from service.problem import Refusal
from service.representations import ScalingView, scaling_view

router = APIRouter(tags=["operation"])

UnannouncedSeconds = Annotated[
    float | None,
    Query(
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description=(
            "The `backlog_s` to tell of a model that no worker has announced, in place of 404: an "
            "autoscaler that counts an error as no signal starts one so. Above what wakes it, and "
            "no more than one worker's target."
        ),
    ),
]


@router.get(
    "/v1/scaling/{model}",
    summary="How much work a model has",
    responses=problems(*GUARDED, 404, 422),
)
async def get_scaling(
    model: str, door: DoorDep, caller: MetricsCaller, unannounced_s: UnannouncedSeconds = None
) -> ScalingView:
    """Return the work left of a model in seconds of one worker: ``backlog_s`` is what to scale on.

    A model that no worker has ever announced is unknown, 404 unless the request says what to tell
    of it: start one worker, which announces it.
    """
    known, workers = await asyncio.gather(door.models.get(), door.workers.get())
    for entry in known:
        if entry.name == model:
            return scaling_view(scaling_signal(entry, await door.backlog(model), workers))
    if unannounced_s is None:
        raise Refusal(404, "unknown_model", f"no worker has ever announced a model {model!r}")
    door.counters.scaling_unannounced.inc()
    return scaling_view(unannounced_signal(model, unannounced_s, workers))
