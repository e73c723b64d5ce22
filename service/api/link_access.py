"""Access to parts of a job, by an API key of its tenant or by a signed link."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from jobs.schema import JobRecord
from service.api.caller import Bearer, caller, identified, meter_link, own_job, require
from service.api.job_ids import JobId
from service.auth.scope import Scope
from service.door import DoorDep
from service.http.problem import Refusal
from service.resources.signing import LinkScope, SignatureStatus

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
        signer = door.links.signer
        if signer is None or signature is None or bearer is not None:
            calling = await caller(door, request, await identified(door, request, bearer))
            return await own_job(door, require(calling, Scope.JOBS), job_id)
        status = signer.check(job_id, scope, expires, signature, time.time())
        if status is SignatureStatus.EXPIRED:
            detail = "the link has expired; get the job again for a new one"
            raise Refusal(403, "link_expired", detail, field="expires")
        if status is SignatureStatus.INVALID:
            detail = "the link's signature is invalid"
            raise Refusal(403, "invalid_signature", detail, field="signature")
        await meter_link(door, request, job_id)
        request.state.link_expires_at = int(expires or 0)
        return await door.store.get(job_id)

    return linked_job


def link_expires_at(request: Request) -> int | None:
    """Return when the link of this request expires, None if it came with an API key."""
    expires_at: int | None = getattr(request.state, "link_expires_at", None)
    return expires_at


ImagesJob = Annotated[JobRecord, Depends(requires(LinkScope.IMAGES))]
PreviewJob = Annotated[JobRecord, Depends(requires(LinkScope.PREVIEW))]
EventsJob = Annotated[JobRecord, Depends(requires(LinkScope.EVENTS))]
