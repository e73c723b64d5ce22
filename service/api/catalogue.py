"""Models, samplers and workers over HTTP."""

from fastapi import APIRouter

from jobs.telemetry.text import shown
from service.api.caller import GUARDED, AnyCaller, MetricsCaller
from service.door import DoorDep
from service.http.documented import problems
from service.http.problem import Refusal
from service.resources.representations import (
    ListedModel,
    ModelList,
    ModelView,
    OneModel,
    SamplerList,
    SamplerView,
    WorkerView,
)

router = APIRouter(tags=["catalogue"])


@router.get("/v1/models", summary="List models", responses=problems(*GUARDED))
async def list_models(door: DoorDep, caller: AnyCaller) -> ModelList:
    """Return all models that workers have announced, with their limits and samplers."""
    workers = await door.workers.get()
    warm = {each.model for each in workers if each.loaded and not each.draining}
    known = await door.catalogue()
    return ModelList(
        models=tuple(ModelView(**each.model_dump(), warm=each.name in warm) for each in known),
        data=tuple(ListedModel(id=each.name) for each in known),
    )


@router.get("/v1/models/{model}", summary="Get a model", responses=problems(*GUARDED, 404))
async def get_model(door: DoorDep, caller: AnyCaller, model: str) -> OneModel:
    """Return a model with its limits and samplers."""
    for known in (await list_models(door, caller)).models:
        if known.name == model:
            return OneModel(**known.model_dump(), id=model)
    raise Refusal(404, "not_found", f"there is no model {shown(model)}")


@router.get("/v1/samplers", summary="List samplers", responses=problems(*GUARDED))
async def list_samplers(door: DoorDep, caller: AnyCaller) -> SamplerList:
    """Return all samplers with the models that offer them.

    `schedules` are those that any of the models has; all else is as the first one has it.
    """
    found: dict[str, SamplerView] = {}
    for model in await door.catalogue():
        for sampler in model.samplers:
            first = found.get(sampler.name) or SamplerView(**sampler.model_dump(), models=())
            found[sampler.name] = first.model_copy(
                update={
                    "models": (*first.models, model.name),
                    "schedules": tuple(dict.fromkeys((*first.schedules, *sampler.schedules))),
                }
            )
    return SamplerList(samplers=tuple(found.values()))


@router.get("/v1/workers", summary="List live workers", responses=problems(*GUARDED))
async def list_workers(door: DoorDep, caller: MetricsCaller) -> list[WorkerView]:
    """Return the workers that have announced themselves in the last few seconds."""
    return [WorkerView.model_validate(worker) for worker in await door.workers.get()]
