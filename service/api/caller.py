"""The caller of a request: the tenant and the scopes of its API key."""

from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jobs.errors import JobNotFound
from jobs.schema import PUBLIC, JobRecord, Priority
from service.api.job_ids import JobId
from service.auth.rate_limit import Bucket, meter
from service.auth.scope import Scope
from service.door import Door, DoorDep
from service.http.problem import Refusal
from service.settings import ServiceSettings

GUARDED = (401, 403, 429)
"""Statuses that any route that requires a key may answer."""

_bearer = HTTPBearer(
    auto_error=False, description="An API key, `sfu_…`; needed only if the service requires one."
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


@dataclass(frozen=True)
class Caller:
    """The holder of a key, or anyone if no keys are required."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    buckets: tuple[Bucket, ...] = ()  # that its requests are counted in
    priorities: frozenset[Priority] = frozenset(Priority)  # classes that its jobs may ask for

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope; an operator has all of them."""
        return scope in self.scopes or Scope.OPERATOR in self.scopes

    def check_priority(self, priority: Priority) -> None:
        """Check that its jobs may be in this class. Raises: Refusal, 403."""
        if priority not in self.priorities:
            allowed = ", ".join(each for each in Priority if each in self.priorities) or "none"
            detail = f"the API key does not permit priority {priority.value!r}, only: {allowed}"
            raise Refusal(403, "priority_forbidden", detail, field="priority")

    def sees(self, tenant: str) -> bool:
        """Whether the caller may see this tenant's jobs."""
        return self.tenant == tenant or Scope.OPERATOR in self.scopes

    @property
    def view(self) -> str | None:
        """The tenant whose jobs the caller may list; None for all tenants."""
        return None if Scope.OPERATOR in self.scopes else self.tenant


async def identified(door: DoorDep, request: Request, bearer: Bearer) -> Caller:
    """Return the caller; its request is counted only if the key is missing or invalid.

    Raises:
        Refusal: 401, the key is missing or invalid; 429, too many such requests from its address.
    """
    settings = door.settings
    address = "" if request.client is None else request.client.host
    of_address = (_bucket(settings, "client", address),)
    if door.keyring is None:
        return Caller(PUBLIC, frozenset({Scope.OPERATOR}), buckets=of_address)
    if bearer is None:
        await meter(door.limiter, request, of_address)
        detail = "an API key is required: Authorization: Bearer sfu_…"
        challenge = {"www-authenticate": "Bearer"}
        raise Refusal(401, "key_required", detail, field="Authorization", headers=challenge)
    key = await door.keyring.find(bearer.credentials)
    if key is None:
        await meter(door.limiter, request, of_address)
        detail = "the API key is unknown, revoked or expired"
        challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
        raise Refusal(401, "invalid_key", detail, field="Authorization", headers=challenge)
    structlog.contextvars.bind_contextvars(tenant=key.tenant, key_id=key.id)
    if Scope.OPERATOR in key.scopes:
        return Caller(key.tenant, key.scopes, key.id)
    of_key = _bucket(settings, "key", key.id, key.rate_limit)
    of_tenant = _bucket(settings, "tenant", key.tenant, settings.tenant_rate_limit)
    return Caller(key.tenant, key.scopes, key.id, (of_key, of_tenant), key.priorities)


Identified = Annotated[Caller, Depends(identified)]


async def caller(door: DoorDep, request: Request, calling: Identified) -> Caller:
    """Return the caller and count its request. Raises: Refusal, 401 or 429."""
    await meter(door.limiter, request, calling.buckets)
    return calling


async def metrics_caller(door: DoorDep, request: Request, calling: Identified) -> Caller:
    """Return a caller that may read metrics.

    Its request is counted only if it may not: an autoscaler or Prometheus that gets a 429 is blind,
    and it shares its tenant's or address' limit with clients.

    Raises:
        Refusal: 401, 403 or 429.
    """
    if not calling.may(Scope.METRICS):
        await meter(door.limiter, request, calling.buckets)
    return require(calling, Scope.METRICS)


async def meter_link(door: Door, request: Request, job_id: str) -> None:
    """Count a request with a signed link. Raises: Refusal."""
    await meter(door.limiter, request, [_bucket(door.settings, "link", job_id)])


def _bucket(
    settings: ServiceSettings, policy: str, holder: str, requests: int | None = None
) -> Bucket:
    most = settings.rate_limit if requests is None else requests
    return Bucket(policy, holder, most, settings.rate_window_s)


def require(calling: Caller, scope: Scope) -> Caller:
    """Return the caller if it has this scope. Raises: Refusal, 403."""
    if not calling.may(scope):
        detail = f"the API key lacks the scope {scope.value!r}"
        raise Refusal(403, "forbidden", detail, field="Authorization")
    return calling


AnyCaller = Annotated[Caller, Depends(caller)]


async def jobs_caller(calling: AnyCaller) -> Caller:
    """Return a caller that may use jobs. Raises: Refusal, 401, 403 or 429."""
    return require(calling, Scope.JOBS)


JobsCaller = Annotated[Caller, Depends(jobs_caller)]
MetricsCaller = Annotated[Caller, Depends(metrics_caller)]


async def own_job(door: DoorDep, calling: JobsCaller, job_id: JobId) -> JobRecord:
    """Return the job in the path.

    Raises:
        JobNotFound: it does not exist or belongs to another tenant; the two look the same.
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
