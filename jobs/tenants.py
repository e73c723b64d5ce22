"""A tenant's terms: its weight in the fair order and its quota in units."""

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import JobsError
from jobs.schema import Tenant
from jobs.settings import JobsSettings


class TenantTerms(BaseModel):
    """A tenant's own terms; None falls back to ``SFUMATO_TENANT_…``."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer version may add fields

    name: Tenant
    weight: float | None = Field(None, gt=0, le=1e6)  # twice the weight, twice the units
    max_units: float | None = Field(None, ge=0)  # outstanding, over all models; 0: unlimited


@dataclass(frozen=True)
class TenantLoad:
    """A tenant's terms in force, and what it has queued and running."""

    name: str
    weight: float
    max_units: float  # 0: unlimited
    open_jobs: int
    outstanding_units: float
    listed: bool  # has terms of its own


@dataclass(frozen=True)
class Holding:
    """The slots that a job holds at a full worker."""

    job_id: str
    slots: int
    preemptible: bool  # it may be given back now


@dataclass(frozen=True)
class Share:
    """A tenant that should have a slot of a full worker, and the job that holds it."""

    tenant: str
    job_id: str


def load(
    settings: JobsSettings, name: str, own: TenantTerms | None, open_jobs: int, units: float
) -> TenantLoad:
    """Return a tenant's load under its own terms or the defaults."""
    terms = own or TenantTerms(name=name)
    return TenantLoad(
        name=name,
        weight=settings.tenant_weight if terms.weight is None else terms.weight,
        max_units=settings.tenant_max_units if terms.max_units is None else terms.max_units,
        open_jobs=open_jobs,
        # Sums of rounded decimals may end just below zero.
        outstanding_units=max(0.0, units) if open_jobs else 0.0,
        listed=own is not None,
    )


class UnknownTenant(JobsError):
    """The tenant has no terms of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(f"tenant {name!r} has no terms of its own")


class Tenants(Protocol):
    """The tenants of a store. A change takes effect at the next claim or submission."""

    async def set(self, terms: TenantTerms) -> None:
        """Give a tenant terms of its own."""

    async def get(self, name: str) -> TenantLoad:
        """Return a tenant's terms and load; an unknown tenant has the defaults."""

    async def all(self) -> tuple[TenantLoad, ...]:
        """Return, by name, the tenants with terms of their own or with open jobs."""

    async def remove(self, name: str) -> None:
        """Put a tenant back on the defaults; its jobs stay. Raises: UnknownTenant."""
