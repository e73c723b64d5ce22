"""Models, samplers and workers over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from jobs.errors import InvalidCursor
from jobs.telemetry.text import shown
from service import live_batch
from service.api.caller import GUARDED, AnyCaller, MetricsCaller, OperatorCaller
from service.door import DoorDep
from service.http.documented import Responses, problems
from service.http.event_stream import STREAM_HEADERS
from service.http.head import is_head
from service.http.problem import Refusal
from service.resources.batch import BatchView
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

_BATCHES: Responses = {
    200: {
        "description": (
            "`batch` (as `/v1/workers/{worker_id}/batch` returns it, with the changes since the "
            "previous event) twice a second, and `gone` {worker} once the worker is gone."
        ),
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "required": ["event", "data"],
                    "properties": {
                        "event": {"enum": ["batch", "gone"]},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                        "id": {"type": "string", "pattern": r"^\d+$"},
                    },
                }
            }
        },
    },
}


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


@router.get(
    "/v1/workers/{worker_id:path}/batch",
    summary="Get a worker's batch",
    responses=problems(*GUARDED, 404, 422),
)
async def get_batch(
    door: DoorDep,
    caller: OperatorCaller,
    worker_id: str,
    since: Annotated[
        int | None, Query(ge=0, description="Return only changes after this sequence number.")
    ] = None,
) -> BatchView:
    """Return which images hold a worker's slots, and its last forward pass.

    A worker publishes its batch only while somebody asks: the first response takes up to 2 seconds.
    """
    with door.listeners.listening(caller.holder):
        batch = await live_batch.newest(door, worker_id)
    return await live_batch.view(door, batch, since)


@router.get(
    "/v1/workers/{worker_id:path}/batch/events",
    summary="Follow a worker's batch",
    response_class=Response,
    responses={**_BATCHES, **problems(*GUARDED, 400, 404)},
)
async def follow_batch(
    request: Request,
    door: DoorDep,
    caller: OperatorCaller,
    worker_id: str,
    last_event_id: Annotated[
        str | None,
        Header(description="Resume with the changes after this event (a sequence number)."),
    ] = None,
) -> Response:
    """Stream a worker's batch, twice a second; each event's id is its `sequence`."""
    after = _sequence(last_event_id or None)
    with door.listeners.listening(caller.holder):
        batch = await live_batch.newest(door, worker_id)
    if is_head(request.scope):
        return Response(headers=STREAM_HEADERS, media_type="text/event-stream")
    return door.stream(caller.holder, live_batch.frames(door, batch, after))


def _sequence(event_id: str | None) -> int | None:
    """Return the sequence number in an event's id. Raises: InvalidCursor, it is malformed."""
    if event_id is None:
        return None
    if not (event_id.isascii() and event_id.isdecimal()) or len(event_id) > 18:
        raise InvalidCursor(f"{event_id!r} is not the id of an event")
    return int(event_id)
