"""Access to parts of a job, by an API key of its tenant or by a signed link."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from jobs.schema import JobRecord
from service.api.caller import Bearer, LinkHolder, caller, own_job, require
from service.auth.scope import Scope
from service.door import DoorDep
from service.http.job_ids import JobId
from service.resources.signing import LinkScope

Expires = Annotated[str | None, Query(description="When a signed link expires.")]
Signature = Annotated[str | None, Query(description="Of a signed link, in place of an API key.")]


def requires(scope: LinkScope) -> Callable[..., Awaitable[JobRecord]]:
    """Return a dependency that gives the job in the path if the request may see this part of it."""

    async def linked_job(
        door: DoorDep,
        request: Request,
        job_id: JobId,
        bearer: Bearer,
        expires: Expires = None,
        signature: Signature = None,
    ) -> JobRecord:
        holder = request.state.caller
        if isinstance(holder, LinkHolder):
            assert (holder.job_id, holder.scope) == (job_id, scope)
            return await door.store.get(job_id)
        return await own_job(door, require(await caller(request, bearer), Scope.JOBS), job_id)

    return linked_job


ImagesJob = Annotated[JobRecord, Depends(requires(LinkScope.IMAGES))]
PreviewJob = Annotated[JobRecord, Depends(requires(LinkScope.PREVIEW))]
EventsJob = Annotated[JobRecord, Depends(requires(LinkScope.EVENTS))]
