"""Whether a worker is alive and ready, from what its event loop last did."""

from dataclasses import dataclass, field
from time import monotonic

from jobs.fleet import WORKER_TTL_S
from workers.engine.engine import Engine


@dataclass
class Pulse:
    """What the event loop last did. Times are ``monotonic()``; one thread writes, others read."""

    beat_at: float = field(default_factory=monotonic)  # the loop ran
    announced_at: float | None = None  # Redis took the worker's announcement
    round_began: float | None = None  # the publisher's round under way, None between two
    draining_since: float | None = None  # None: it does not stop
    paused: bool = False  # by an operator, who may resume it

    @property
    def draining(self) -> bool:
        """Whether the worker gives its jobs back and takes none."""
        return self.paused or self.draining_since is not None

    @property
    def unanswered_s(self) -> float:
        """Seconds of a drain, or of the part of it, for which Redis has not answered."""
        if self.draining_since is None:
            return 0.0
        return monotonic() - max(self.draining_since, self.announced_at or 0.0)


def why_not_live(pulse: Pulse, engine: Engine, stall_s: float) -> list[str]:
    """Return why the process should be restarted; empty while it is alive.

    An outage of Redis does not count, since a restart would not help. A round of the publisher is
    stuck only if Redis has answered ``stall_s`` after it began.
    """
    reasons = []
    if engine.silent_s >= stall_s:
        reasons.append(f"the engine has images and has not ticked for {stall_s:g} s")
    if (silent := monotonic() - pulse.beat_at) > stall_s:
        reasons.append(f"the event loop has not run for {silent:.0f} s")
    began, announced = pulse.round_began, pulse.announced_at
    if began is not None and announced is not None and announced - began > stall_s:
        reasons.append(f"a publisher's round that began {monotonic() - began:.0f} s ago is stuck")
    return reasons


def why_not_ready(pulse: Pulse, engine: Engine, stall_s: float) -> list[str]:
    """Return why the worker takes no job now; empty while it does."""
    reasons = why_not_live(pulse, engine, stall_s)
    if pulse.draining:
        reasons.append("draining")
    if pulse.announced_at is None:
        reasons.append("not announced yet")
    elif (silent := monotonic() - pulse.announced_at) > WORKER_TTL_S:
        reasons.append(f"Redis has not answered for {silent:.0f} s")
    return reasons
