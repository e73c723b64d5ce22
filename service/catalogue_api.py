"""What the service can do and who does it: models, samplers, workers."""

from fastapi import APIRouter

from service.caller import GUARDED, AnyCaller, MetricsCaller
from service.documented import problems
from service.door import DoorDep
from service.representations import (
    ModelList,
    SamplerList,
    SamplerView,
    WorkerView,
    worker_view,
)

router = APIRouter(tags=["catalogue"])


@router.get("/v1/models", summary="List models", responses=problems(*GUARDED))
async def list_models(door: DoorDep, caller: AnyCaller) -> ModelList:
    """Return every model that a worker has announced, with its limits and samplers."""
    return ModelList(models=await door.models.get())


@router.get("/v1/samplers", summary="List samplers", responses=problems(*GUARDED))
async def list_samplers(door: DoorDep, caller: AnyCaller) -> SamplerList:
    """Return every sampler with the models that offer it."""
    found: dict[str, SamplerView] = {}
    for model in await door.models.get():
        for sampler in model.samplers:
            before = found[sampler.name].models if sampler.name in found else ()
            fields = sampler.model_dump() | {"models": (*before, model.name)}
            found[sampler.name] = SamplerView.model_validate(fields)
    return SamplerList(samplers=tuple(found.values()))


@router.get("/v1/workers", summary="List live workers", responses=problems(*GUARDED))
async def list_workers(door: DoorDep, caller: MetricsCaller) -> list[WorkerView]:
    """Return the workers that have announced themselves within the last seconds."""
    return [worker_view(worker) for worker in await door.workers.get()]
