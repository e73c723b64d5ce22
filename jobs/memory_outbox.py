"""The outbox in memory."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from jobs.errors import JobNotFound
from jobs.memory_job import MemoryJob
from jobs.outbox import QUICK_IN_A_ROW, Delivery, DeliveryTerms, OutboxCounts, Outcome
from jobs.schema import JobStatus
from jobs.webhook import WebhookState


def post(job: MemoryJob, now: float, status: JobStatus) -> None:
    """Put the job's end into the outbox, where its client wants to be told of it."""
    if job.webhook is None:
        return
    wanted = f"job.{status.value}" in job.webhook.events
    job.webhook_state = WebhookState.PENDING if wanted else WebhookState.UNWANTED
    job.webhook_due = job.webhook_next = now if wanted else None


class MemoryOutbox:
    """The :class:`jobs.outbox.Outbox` of a store in memory. ``jobs`` returns all of its jobs."""

    def __init__(self, jobs: Callable[[], Iterable[MemoryJob]], clock: Callable[[], float]) -> None:
        self._jobs = jobs
        self._clock = clock
        self._served: dict[str, float] = {}  # when each tenant last was
        self._slow: dict[str, int] = {}  # quick answers in a row that each slow tenant has to give

    def _in(self, state: WebhookState) -> list[MemoryJob]:
        return [job for job in self._jobs() if job.webhook_state is state]

    async def take(
        self, limit: int, terms: DeliveryTerms, busy: Mapping[str, int]
    ) -> tuple[Delivery, ...]:
        """Lease deliveries that are due."""
        now, token, at_work = self._clock(), secrets.token_hex(8), dict(busy)
        lines, taken = self._lines(now), list[Delivery]()
        slow_places = terms.limit_of_slow - sum(busy.get(tenant, 0) for tenant in self._slow)
        for level in range(terms.limit_of_tenant):
            for tenant, line in lines.items():
                slow = tenant in self._slow
                if len(taken) >= limit or at_work.get(tenant, 0) > level:
                    continue
                if slow and slow_places <= 0:
                    continue
                self._served[tenant] = now
                job = self._first(line, terms.max_attempts)
                if job is None:
                    continue
                at_work[tenant] = level + 1
                slow_places -= slow
                job.webhook_attempts += 1
                job.webhook_token, job.webhook_next = token, now + terms.lease_s
                taken.append(Delivery(job.id, tenant, job.webhook_attempts, token))
        return tuple(taken)

    def _lines(self, now: float) -> dict[str, deque[MemoryJob]]:
        """Return the deliveries that are due by tenant, whose turn comes first before others."""
        lines: dict[str, deque[MemoryJob]] = {}
        pending = sorted(self._in(WebhookState.PENDING), key=_next)
        for job in pending:
            if _next(job) <= now:
                lines.setdefault(job.spec.tenant, deque()).append(job)
        self._forget_idle()

        def turn(tenant: str) -> tuple[float, str]:
            return max(_next(lines[tenant][0]), self._served.get(tenant, 0.0)), tenant

        return {tenant: lines[tenant] for tenant in sorted(lines, key=turn)}

    def _forget_idle(self) -> None:
        """Keep nothing of tenants of which nothing waits."""
        tenants = {job.spec.tenant for job in self._in(WebhookState.PENDING)}
        for kept in (self._served, self._slow):
            for tenant in kept.keys() - tenants:
                del kept[tenant]

    def _note_pace(self, tenant: str, slow: bool) -> None:
        if slow:
            self._slow[tenant] = QUICK_IN_A_ROW
        elif tenant in self._slow:
            self._slow[tenant] -= 1
            if self._slow[tenant] == 0:
                del self._slow[tenant]

    def _first(self, line: deque[MemoryJob], max_attempts: int) -> MemoryJob | None:
        while line:
            job = line.popleft()
            if job.webhook_attempts < max_attempts:
                return job
            self._bury(job, "every door that tried died")
        return None

    def _bury(self, job: MemoryJob, note: str) -> None:
        job.webhook_state, job.webhook_error, job.webhook_due = WebhookState.FAILED, note, None

    async def settle(
        self,
        delivery: Delivery,
        outcome: Outcome,
        *,
        note: str = "",
        delay_s: float = 0.0,
        slow: bool = False,
    ) -> bool:
        """Write down how it went."""
        job = next((job for job in self._jobs() if job.id == delivery.job_id), None)
        if job is None or job.webhook_token != delivery.token:
            return False
        if job.webhook_state is not WebhookState.PENDING:
            return False
        now, job.webhook_token = self._clock(), ""
        self._note_pace(job.spec.tenant, slow)
        if outcome == "delivered":
            job.webhook_state, job.webhook_delivered_at = WebhookState.DELIVERED, now
            job.webhook_error = job.webhook_due = None
        elif outcome == "retried":
            job.webhook_due = job.webhook_next = now + delay_s
            job.webhook_error = note
        else:
            self._bury(job, note)
        self._forget_idle()
        return True

    async def again(self, job_id: str) -> None:
        """Make a delivery due now."""
        job = next((job for job in self._jobs() if job.id == job_id), None)
        if job is None or job.webhook_state in (None, WebhookState.WAITING):
            raise JobNotFound(f"{job_id}/webhook")
        job.webhook_state, job.webhook_attempts = WebhookState.PENDING, 0
        job.webhook_error, job.webhook_token = None, ""
        job.webhook_due = job.webhook_next = self._clock()

    async def counts(self) -> OutboxCounts:
        """Return how much waits, since when, and how much was given up."""
        pending, failed = self._in(WebhookState.PENDING), self._in(WebhookState.FAILED)
        now = self._clock()
        first = min(map(_next, pending), default=now)
        return OutboxCounts(len(pending), len(failed), max(0.0, now - first))


def _next(job: MemoryJob) -> float:
    return job.webhook_next or 0.0
