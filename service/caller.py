"""Who calls: the tenant and the rights that a request's key gives."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jobs.errors import JobNotFound
from jobs.schema import PUBLIC, JobRecord
from service.door import Door, DoorDep
from service.job_ids import JobId
from service.problem import Refusal
from service.rate_limit import Bucket, meter
from service.scope import Scope
from service.settings import ServiceSettings

GUARDED = (401, 403, 429)
"""Statuses that any route behind a key may answer with."""

_bearer = HTTPBearer(
    auto_error=False, description="An API key, `sfu_…`; not needed where the service asks for none."
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


@dataclass(frozen=True)
class Caller:
    """The holder of a key, or anyone where no keys are asked for."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this right; an operator has all."""
        return scope in self.scopes or Scope.OPERATOR in self.scopes

    def sees(self, tenant: str) -> bool:
        """Whether the caller may see this tenant's jobs."""
        return self.tenant == tenant or Scope.OPERATOR in self.scopes

    @property
    def view(self) -> str | None:
        """The tenant whose jobs the caller's lists hold; None for those of all."""
        return None if Scope.OPERATOR in self.scopes else self.tenant


ANYONE = Caller(PUBLIC, frozenset({Scope.OPERATOR}))


async def caller(door: DoorDep, request: Request, bearer: Bearer) -> Caller:
    """Return who calls.

    Raises:
        Refusal: 401, there is no key, or it is not good; 429, it has called too often, or its
            address has without a good key.
    """
    settings = door.settings
    address = "" if request.client is None else request.client.host
    of_address = [_bucket(settings, "client", address)]
    if door.keyring is None:
        await meter(door.limiter, request, of_address)
        return ANYONE
    if bearer is None:
        await meter(door.limiter, request, of_address)
        detail = "this service asks for an API key: Authorization: Bearer sfu_…"
        raise _unauthorized("key_required", detail, "Bearer")
    key = await door.keyring.find(bearer.credentials)
    if key is None:
        await meter(door.limiter, request, of_address)
        detail = "the API key is unknown, revoked or expired"
        raise _unauthorized("invalid_key", detail, 'Bearer error="invalid_token"')
    structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.id)
    if Scope.OPERATOR not in key.scopes:
        of_key = _bucket(settings, "key", key.id, key.rate_limit)
        of_tenant = _bucket(settings, "tenant", key.tenant, settings.tenant_rate_limit)
        await meter(door.limiter, request, [of_key, of_tenant])
    return Caller(key.tenant, key.scopes, key.id)


async def meter_link(door: Door, request: Request, job_id: str) -> None:
    """Count a request that came with a signed link. Raises: Refusal."""
    await meter(door.limiter, request, [_bucket(door.settings, "link", job_id)])


def _bucket(
    settings: ServiceSettings, policy: str, holder: str, requests: int | None = None
) -> Bucket:
    most = settings.rate_limit if requests is None else requests
    return Bucket(policy, holder, most, settings.rate_window_s)


def _unauthorized(code: str, detail: str, challenge: str) -> Refusal:
    headers = {"www-authenticate": challenge}
    return Refusal(401, code, detail, field="Authorization", headers=headers)


def having(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that asks for a right."""

    async def checked(calling: Annotated[Caller, Depends(caller)]) -> Caller:
        if not calling.may(scope):
            detail = f"this key lacks the scope {scope.value!r}"
            raise Refusal(403, "forbidden", detail, field="Authorization")
        return calling

    return checked


AnyCaller = Annotated[Caller, Depends(caller)]
JobsCaller = Annotated[Caller, Depends(having(Scope.JOBS))]
MetricsCaller = Annotated[Caller, Depends(having(Scope.METRICS))]
OperatorCaller = Annotated[Caller, Depends(having(Scope.OPERATOR))]


async def own_job(door: DoorDep, calling: JobsCaller, job_id: JobId) -> JobRecord:
    """Return the job in the path.

    Raises:
        JobNotFound: there is none, or it is another tenant's: which of the two is not told.
    """
    record = await door.store.get(job_id)
    if not calling.sees(record.spec.tenant):
        raise JobNotFound(job_id)
    return record


OwnJob = Annotated[JobRecord, Depends(own_job)]
