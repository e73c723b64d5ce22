"""The scaling signal over HTTP, in the form that KEDA's metrics-api trigger reads."""

import asyncio

from fastapi import APIRouter

from jobs.scaling import scaling_signal
from service.caller import GUARDED, MetricsCaller
from service.documented import problems
from service.door import DoorDep
from service.problem import Refusal
from service.representations import ScalingView, scaling_view

router = APIRouter(tags=["operation"])


@router.get(
    "/v1/scaling/{model}",
    summary="How much work a model has",
    responses=problems(*GUARDED, 404),
)
async def get_scaling(model: str, door: DoorDep, caller: MetricsCaller) -> ScalingView:
    """Return the work left of a model in seconds of one worker: ``backlog_s`` is what to scale on.

    A model that no worker has ever announced is unknown: start one worker, which announces it.
    """
    known, workers = await asyncio.gather(door.models.get(), door.workers.get())
    for entry in known:
        if entry.name == model:
            return scaling_view(scaling_signal(entry, await door.backlog(model), workers))
    raise Refusal(404, "unknown_model", f"no worker has ever announced a model {model!r}")
