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
    buckets: tuple[Bucket, ...] = ()  # that its requests are taken from

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


async def identified(door: DoorDep, request: Request, bearer: Bearer) -> Caller:
    """Return who calls, not counted yet where the key is good or none is asked for.

    Raises:
        Refusal: 401, there is no key, or it is not good; 429, its address has called too often
            without a good one.
    """
    settings = door.settings
    address = "" if request.client is None else request.client.host
    of_address = (_bucket(settings, "client", address),)
    if door.keyring is None:
        return Caller(PUBLIC, frozenset({Scope.OPERATOR}), buckets=of_address)
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
    if Scope.OPERATOR in key.scopes:
        return Caller(key.tenant, key.scopes, key.id)
    of_key = _bucket(settings, "key", key.id, key.rate_limit)
    of_tenant = _bucket(settings, "tenant", key.tenant, settings.tenant_rate_limit)
    return Caller(key.tenant, key.scopes, key.id, (of_key, of_tenant))


Identified = Annotated[Caller, Depends(identified)]


async def caller(door: DoorDep, request: Request, calling: Identified) -> Caller:
    """Return who calls, its request counted. Raises: Refusal, 401 or 429."""
    await meter(door.limiter, request, calling.buckets)
    return calling


async def metrics_caller(door: DoorDep, request: Request, calling: Identified) -> Caller:
    """Return a caller that may read figures.

    It is counted only where it may not: an autoscaler or Prometheus that is answered 429 is blind,
    and shares a tenant's or an address' requests with clients.

    Raises:
        Refusal: 401, 403 or 429.
    """
    if not calling.may(Scope.METRICS):
        await meter(door.limiter, request, calling.buckets)
    return require(calling, Scope.METRICS)


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


def require(calling: Caller, scope: Scope) -> Caller:
    """Return the caller if it has this right. Raises: Refusal, 403."""
    if not calling.may(scope):
        detail = f"this key lacks the scope {scope.value!r}"
        raise Refusal(403, "forbidden", detail, field="Authorization")
    return calling


def having(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that asks for a right."""

    async def checked(calling: Annotated[Caller, Depends(caller)]) -> Caller:
        return require(calling, scope)

    return checked


AnyCaller = Annotated[Caller, Depends(caller)]
JobsCaller = Annotated[Caller, Depends(having(Scope.JOBS))]
MetricsCaller = Annotated[Caller, Depends(metrics_caller)]
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


async def own_job_id(door: DoorDep, calling: JobsCaller, job_id: JobId) -> str:
    """Return the id in the path of a job that need not be readable.

    Raises:
        JobNotFound: there is none, or it is another tenant's.
    """
    if not calling.sees(await door.store.owner(job_id)):
        raise JobNotFound(job_id)
    return job_id


OwnJob = Annotated[JobRecord, Depends(own_job)]
OwnJobId = Annotated[str, Depends(own_job_id)]
