"""Tenants in memory."""

from collections.abc import Callable, Iterable

from jobs.memory_job import MemoryJob
from jobs.settings import JobsSettings
from jobs.tenants import TenantLoad, TenantTerms, UnknownTenant, load


class MemoryTenants:
    """The :class:`jobs.tenants.Tenants` of a store in memory. ``jobs`` returns all of its jobs."""

    def __init__(self, jobs: Callable[[], Iterable[MemoryJob]], settings: JobsSettings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._terms: dict[str, TenantTerms] = {}

    async def set(self, terms: TenantTerms) -> None:
        """Give a tenant terms of its own."""
        self._terms[terms.name] = terms

    async def get(self, name: str) -> TenantLoad:
        """Return a tenant's terms and load."""
        return self.load(name)

    def load(self, name: str) -> TenantLoad:
        """Return a tenant's terms and load."""
        jobs = [job for job in self._jobs() if job.spec.tenant == name and not job.status.ended]
        units = sum(job.remaining for job in jobs)
        return load(self._settings, name, self._terms.get(name), len(jobs), units)

    def weight(self, name: str) -> float:
        """Return a tenant's weight."""
        own = self._terms.get(name)
        return self._settings.tenant_weight if own is None or own.weight is None else own.weight

    async def all(self) -> tuple[TenantLoad, ...]:
        """Return the tenants with terms of their own or with open jobs, by name."""
        busy = {job.spec.tenant for job in self._jobs() if not job.status.ended}
        return tuple(self.load(name) for name in sorted(busy | self._terms.keys()))

    async def remove(self, name: str) -> None:
        """Put a tenant back on the defaults."""
        if self._terms.pop(name, None) is None:
            raise UnknownTenant(name)
