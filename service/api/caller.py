"""The caller of a request, and what it may do."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jobs.errors import JobNotFound
from jobs.schema import JobRecord, Priority
from service.auth.scope import Scope
from service.door import DoorDep
from service.http.job_ids import JobId
from service.http.problem import Refusal
from service.resources.links import Links
from service.resources.signing import LinkScope

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
    address: str  # as `caller_address` returns it
    key_id: str | None = None
    rate_limit: int | None = None  # the key's own
    priorities: frozenset[Priority] = frozenset(Priority)  # classes that its jobs may ask for

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope; an operator has all of them."""
        return scope in self.scopes or Scope.OPERATOR in self.scopes

    def check_priority(self, priority: Priority) -> None:
        """Check that its jobs may be in this class; an operator's may. Raises: Refusal, 403."""
        if priority not in self.priorities and Scope.OPERATOR not in self.scopes:
            allowed = ", ".join(each for each in Priority if each in self.priorities) or "none"
            detail = f"the API key does not permit priority {priority.value!r}, only: {allowed}"
            raise Refusal(403, "priority_forbidden", detail, field="priority")

    def sees(self, tenant: str) -> bool:
        """Whether the caller may see this tenant's jobs."""
        return self.tenant == tenant or Scope.OPERATOR in self.scopes

    @property
    def holder(self) -> str:
        """Whom its event streams and waits count for: its key, or its address if it has none."""
        return f"address {self.address}" if self.key_id is None else f"key {self.key_id}"

    @property
    def view(self) -> str | None:
        """The tenant whose jobs the caller may list; None for all tenants."""
        return None if Scope.OPERATOR in self.scopes else self.tenant


@dataclass(frozen=True)
class LinkHolder:
    """Someone with a valid signed link to a part of a job."""

    job_id: str
    scope: LinkScope
    address: str
    expires_at: int

    @property
    def holder(self) -> str:
        """Whom its event streams count for."""
        return f"address {self.address}"


async def caller(request: Request, bearer: Bearer) -> Caller:
    """Return the caller that the `Authentication` middleware has found."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


AnyCaller = Annotated[Caller, Depends(caller)]


def require(calling: Caller, scope: Scope) -> Caller:
    """Return the caller if it has this scope. Raises: Refusal, 403."""
    if not calling.may(scope):
        detail = f"the API key lacks the scope {scope.value!r}"
        raise Refusal(403, "forbidden", detail, field="Authorization")
    return calling


async def jobs_caller(calling: AnyCaller) -> Caller:
    """Return a caller that may use jobs. Raises: Refusal, 403."""
    return require(calling, Scope.JOBS)


async def metrics_caller(calling: AnyCaller) -> Caller:
    """Return a caller that may read metrics. Raises: Refusal, 403."""
    return require(calling, Scope.METRICS)


async def operator(calling: AnyCaller) -> Caller:
    """Return a caller that may see all tenants' work. Raises: Refusal, 403."""
    return require(calling, Scope.OPERATOR)


JobsCaller = Annotated[Caller, Depends(jobs_caller)]
MetricsCaller = Annotated[Caller, Depends(metrics_caller)]
OperatorCaller = Annotated[Caller, Depends(operator)]


async def links_of_caller(door: DoorDep, request: Request) -> Links:
    """Return the links that the caller gets: those it reaches by a link end with it."""
    holder = request.state.caller
    if isinstance(holder, LinkHolder):
        return door.links.ending_by(holder.expires_at)
    return door.links.naming_workers() if Scope.OPERATOR in holder.scopes else door.links


CallerLinks = Annotated[Links, Depends(links_of_caller)]


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
