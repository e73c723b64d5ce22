"""The progress of a caller's jobs, and interrupting them."""

import base64
import contextlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from jobs.errors import JobNotFound, NotBegun
from service.api.caller import JobsCaller
from service.dialects.a1111.callers import under_way
from service.dialects.a1111.errors import ANSWERS
from service.door import DoorDep
from service.http.origin import check_origin

router = APIRouter()


def _own_page(request: Request, door: DoorDep) -> None:
    """Refuse a page of another site, which could send these, as they have no body."""
    check_origin(request.headers.get("origin"), door.settings.cors_origins)


@router.get("/progress", summary="Get the progress of the newest job", responses=ANSWERS)
async def progress(
    door: DoorDep,
    caller: JobsCaller,
    skip_current_image: Annotated[bool, Query()] = False,
) -> dict[str, Any]:
    """Return the progress of the caller's newest job, with its latest preview."""
    jobs = await under_way(door, caller)
    state = {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "",
        "job_count": len(jobs), "job_timestamp": "0", "job_no": 0, "sampling_step": 0,
        "sampling_steps": 0,
    }  # fmt: skip
    answer = {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None,
              "textinfo": None}  # fmt: skip
    if not jobs:
        return answer
    view = await door.view(jobs[0], door.links)
    state |= {
        "job": view.id,
        "sampling_step": view.progress.step,
        "sampling_steps": view.progress.total,
    }
    shown = None if skip_current_image else await door.store.latest_preview(view.id)
    image = None if shown is None else base64.b64encode(shown[1]).decode()
    place = None if view.queue_position is None else f"queue position {view.queue_position}"
    return answer | {
        "progress": view.progress.fraction,
        "eta_relative": view.eta_s or 0.0,
        "current_image": image,
        "textinfo": place,
    }


@router.post(
    "/interrupt", summary="End jobs now", dependencies=[Depends(_own_page)], responses=ANSWERS
)
@router.post("/skip", summary="End jobs now", dependencies=[Depends(_own_page)], responses=ANSWERS)
async def interrupt(door: DoorDep, caller: JobsCaller) -> dict[str, Any]:
    """End the caller's running jobs from this API at their current step; cancel queued ones."""
    for record in await under_way(door, caller):
        with contextlib.suppress(JobNotFound):  # deleted meanwhile
            try:
                await door.store.finish_now(record.id)
            except NotBegun:
                await door.store.cancel(record.id)
    return {}
