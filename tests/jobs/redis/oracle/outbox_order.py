"""Which deliveries an outbox hands out; ``lua/deliveries/take.lua`` does the same in Redis."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Entry:
    """A delivery that waits."""

    job_id: str
    tenant: str
    due: float
    attempts: int = 0


class OutboxOrder:
    """Deliveries that wait, and those that were given up."""

    def __init__(self, max_attempts: int, limit_of_tenant: int) -> None:
        self._max_attempts = max_attempts
        self._limit_of_tenant = limit_of_tenant
        self._served: dict[str, float] = {}  # tenant → when it last was
        self.waiting: dict[str, Entry] = {}
        self.failed: dict[str, str] = {}  # job id → tenant

    def post(self, job_id: str, tenant: str, now: float) -> None:
        """Make a delivery due now, at its first attempt."""
        self.failed.pop(job_id, None)
        self.waiting[job_id] = Entry(job_id, tenant, now)

    def take(
        self, now: float, limit: int, lease_s: float, busy: Mapping[str, int]
    ) -> list[tuple[str, str, int]]:
        """Lease deliveries that are due: one by one to the tenant with the fewest under way, and of
        those to the one that has been without the longest.
        """
        taken: list[tuple[str, str, int]] = []
        lines, at_work = self._lines(now), dict(busy)
        for level in range(self._limit_of_tenant):
            for tenant, line in lines.items():
                if len(taken) >= limit or at_work.get(tenant, 0) > level:
                    continue
                self._served[tenant] = now
                entry = self._first(line)
                if entry is not None:
                    at_work[tenant] = level + 1
                    entry.attempts, entry.due = entry.attempts + 1, now + lease_s
                    taken.append((entry.job_id, tenant, entry.attempts))
        return taken

    def _lines(self, now: float) -> dict[str, list[Entry]]:
        """Return the deliveries that are due by tenant, in the tenants' turn."""
        lines: dict[str, list[Entry]] = {}
        for entry in sorted(self.waiting.values(), key=lambda entry: entry.due):
            if entry.due <= now:
                lines.setdefault(entry.tenant, []).append(entry)
        self._forget_idle()

        def turn(tenant: str) -> tuple[float, str]:
            return max(lines[tenant][0].due, self._served.get(tenant, 0.0)), tenant

        return {tenant: lines[tenant] for tenant in sorted(lines, key=turn)}

    def _first(self, line: list[Entry]) -> Entry | None:
        while line:
            entry = line.pop(0)
            if entry.attempts < self._max_attempts:
                return entry
            self._drop(entry, failed=True)
        return None

    def settle(self, job_id: str, outcome: str, due: float) -> None:
        """Record the outcome of a delivery."""
        entry = self.waiting[job_id]
        if outcome == "retried":
            entry.due = due
        else:
            self._drop(entry, failed=outcome == "failed")
        self._forget_idle()

    def _drop(self, entry: Entry, *, failed: bool) -> None:
        del self.waiting[entry.job_id]
        if failed:
            self.failed[entry.job_id] = entry.tenant

    def _forget_idle(self) -> None:
        tenants = {entry.tenant for entry in self.waiting.values()}
        self._served = {t: at for t, at in self._served.items() if t in tenants}
