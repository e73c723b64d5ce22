"""Whether a worker is alive and ready: what its event loop notes, and what follows from it."""

from dataclasses import dataclass, field
from time import monotonic

from jobs.store import WORKER_TTL_S
from workers.engine import Engine


@dataclass
class Pulse:
    """What the event loop last did. Times are ``monotonic()``; one thread writes, others read."""

    beat_at: float = field(default_factory=monotonic)  # the loop ran
    announced_at: float | None = None  # Redis took the worker's announcement
    round_began: float | None = None  # the publisher's round under way, None between two
    draining: bool = False


def why_not_live(pulse: Pulse, engine: Engine, stall_s: float) -> list[str]:
    """Return why the process should be ended and started anew; empty while it is alive.

    An outage of Redis is no reason: a new process would have none either. A round of the publisher
    counts as stuck only where Redis has answered ``stall_s`` after it began.
    """
    reasons = []
    if not engine.healthy(stall_s):
        reasons.append(f"the engine has pictures and has not ticked for {stall_s:g} s")
    if (silent := monotonic() - pulse.beat_at) > stall_s:
        reasons.append(f"the event loop has not run for {silent:.0f} s")
    began, announced = pulse.round_began, pulse.announced_at
    if began is not None and announced is not None and announced - began > stall_s:
        reasons.append(f"a publisher's round that began {monotonic() - began:.0f} s ago is stuck")
    return reasons


def why_not_ready(pulse: Pulse, engine: Engine, stall_s: float) -> list[str]:
    """Return why the worker would take no job now; empty while doors count it as live."""
    reasons = why_not_live(pulse, engine, stall_s)
    if pulse.draining:
        reasons.append("draining")
    if pulse.announced_at is None:
        reasons.append("not announced yet")
    elif (silent := monotonic() - pulse.announced_at) > WORKER_TTL_S:
        reasons.append(f"Redis has not answered for {silent:.0f} s")
    return reasons
