"""What a key of the job's tenant opens, or a link that was signed for it."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from jobs.schema import JobRecord
from service.caller import Bearer, caller, identified, meter_link, own_job, require
from service.door import DoorDep
from service.job_ids import JobId
from service.problem import Refusal
from service.scope import Scope
from service.signing import Thing, Verdict

Expires = Annotated[str | None, Query(description="Of a signed link: when it ends.")]
Signature = Annotated[str | None, Query(description="Of a signed link; in place of a key.")]


def opening(thing: Thing) -> Callable[..., Awaitable[JobRecord]]:
    """Return a dependency that gives the job in the path to whoever may see this thing of it."""

    async def linked_job(
        door: DoorDep,
        request: Request,
        job_id: JobId,
        bearer: Bearer,
        expires: Expires = None,
        signature: Signature = None,
    ) -> JobRecord:
        """Return the job. Raises: JobNotFound, Refusal."""
        signer = door.links.signer
        if signer is None or signature is None or bearer is not None:
            calling = await caller(door, request, await identified(door, request, bearer))
            return await own_job(door, require(calling, Scope.JOBS), job_id)
        verdict = signer.verdict(job_id, thing, expires, signature, time.time())
        if verdict is not Verdict.GOOD:
            raise _refused(verdict)
        await meter_link(door, request, job_id)
        request.state.link_ends_at = int(expires or 0)
        return await door.store.get(job_id)

    return linked_job


def link_ends_at(request: Request) -> int | None:
    """Return the end of the link that opened this request, None where it was a key."""
    ends_at: int | None = getattr(request.state, "link_ends_at", None)
    return ends_at


def _refused(verdict: Verdict) -> Refusal:
    if verdict is Verdict.EXPIRED:
        detail = "this link's time is over; look at the job again for a new one"
        return Refusal(403, "link_expired", detail, field="expires")
    return Refusal(403, "invalid_signature", "this link's signature is not good", field="signature")


ImagesJob = Annotated[JobRecord, Depends(opening(Thing.IMAGES))]
PreviewJob = Annotated[JobRecord, Depends(opening(Thing.PREVIEW))]
EventsJob = Annotated[JobRecord, Depends(opening(Thing.EVENTS))]
