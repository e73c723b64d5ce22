"""All scenarios: each with the size it is measured at and the size the test suite runs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.outcome import Outcome
from tests.faults.scenarios import (
    cancel_many,
    device,
    device_fleet,
    door_kill,
    idempotency,
    lost_ring,
    poison,
    rolling_stop,
    stalled_worker,
    upgrade,
    worker_kill,
)
from tests.faults.scenarios.redis import (
    clock_jump,
    failover,
    full_disk,
    memory,
    out_of_memory,
    redis_away,
    redis_behind,
    redis_kill,
)
from tests.faults.scenarios.soak import soak


@dataclass(frozen=True)
class Scenario:
    """A fault with its sizes; ``run`` takes a stage and a size."""

    name: str
    title: str
    run: Callable[..., Awaitable[Outcome]]
    long: dict[str, Any]
    short: dict[str, Any] | None  # None: only measured
    needs: str | None = None  # a name of tests/needs.py
    missing: Callable[[], str | None] = field(default=lambda: None)  # what else, or None


LONG_S = 60.0
"""A lease where none is to end: the suite's outages are short, but its machine may stand still."""

SCENARIOS = (
    Scenario(
        "worker_kill", "workers killed with -9", worker_kill.run,
        {"jobs": 1000, "kills": 20, "lease_s": 6.0},
        # A place for every job: on a slow machine the wait for one would be most of a recovery.
        {"jobs": 24, "kills": 3, "lease_s": 1.5},
    ),
    Scenario(
        "lost_ring", "worker killed with a ring in hand", lost_ring.run,
        {"rounds": 20}, {"rounds": 1},
    ),
    Scenario(
        "rolling_stop", "workers restarted in turn", rolling_stop.run,
        {"jobs": 500, "restarts": 10, "lease_s": 6.0},
        {"jobs": 30, "restarts": 2, "lease_s": LONG_S},
    ),
    Scenario(
        "redis_kill", "Redis killed with -9", redis_kill.run,
        {"jobs": 500, "kills": 5, "lease_s": 6.0}, {"jobs": 30, "kills": 2, "lease_s": LONG_S},
    ),
    Scenario(
        "redis_behind", "Redis killed while its disk is behind", redis_behind.run,
        {"calm_s": 10.0, "behind_s": 2.0}, {"calm_s": 1.0, "behind_s": 0.5},
    ),
    Scenario(
        "redis_away", "Redis away", redis_away.run,
        {"away_s": 30.0, "lease_s": 6.0}, {"away_s": 2.0, "lease_s": LONG_S},
    ),
    Scenario(
        "stalled_worker", "worker wakes after its lease", stalled_worker.run,
        {"stalls": 50}, {"stalls": 2},
    ),
    Scenario(
        "poison", "job kills its worker's process", poison.run,
        {"breaks": "process", "neighbours": 100, "lease_s": 6.0},
        {"breaks": "process", "neighbours": 10, "lease_s": 4.0},
    ),
    Scenario(
        "device_poison", "job breaks its worker's device", poison.run,
        {"breaks": "device", "neighbours": 100, "lease_s": 6.0},
        {"breaks": "device", "neighbours": 10, "lease_s": 4.0},
    ),
    Scenario(
        "device_dead", "a worker's device breaks", device.broken,
        {"fault": "illegal_access", "jobs": 60, "steps": 600, "lease_s": 6.0},
        {"fault": "illegal_access", "jobs": 30, "steps": 120, "lease_s": 1.5},
    ),
    Scenario(
        "device_hang", "a worker's device hangs", device.broken,
        {"fault": "hang", "jobs": 60, "steps": 600, "lease_s": 6.0},
        {"fault": "hang", "jobs": 30, "steps": 120, "lease_s": 1.5},
    ),
    Scenario(
        "device_weak", "a device short of memory, slow, with NaN", device.weak,
        {"jobs": 60, "steps": 60}, {"jobs": 20, "steps": 20},
    ),
    Scenario(
        "device_fleet", "one of four devices breaks for good", device_fleet.run,
        {"window_s": 15.0, "settle_s": 15.0, "least": 0.7},
        {"window_s": 2.0, "settle_s": 2.0, "least": 0.0},
    ),
    Scenario("cancel_many", "many jobs cancelled at once", cancel_many.run,
             {"jobs": 200}, {"jobs": 60}),
    Scenario("idempotency", "every key sent twice at once", idempotency.run,
             {"keys": 1000}, {"keys": 50}),
    Scenario("door_kill", "door killed in mid-submit", door_kill.run, {"kills": 10}, {"kills": 1}),
    Scenario("out_of_memory", "Redis out of memory", out_of_memory.run,
             {"full_s": 15.0, "lease_s": 6.0}, {"full_s": 2.0, "lease_s": LONG_S}),
    Scenario("memory", "jobs with large previews run out", memory.run,
             {"jobs": 5000, "ttl_s": 5.0}, {"jobs": 200, "ttl_s": 0.5}),
    Scenario("full_disk", "Redis' disk full", full_disk.run,
             {"full_s": 15.0, "lease_s": 6.0}, {"full_s": 2.5, "lease_s": LONG_S}),
    Scenario(
        "clock_jump", "clocks jump by an hour", clock_jump.run,
        {"jobs": 200, "lease_s": 6.0, "workers_off": True},
        {"jobs": 40, "lease_s": 4.0, "workers_off": False}, "libfaketime",
    ),
    Scenario(
        "failover", "a replica takes over", failover.run,
        {"durable": "relaxed", "calm_s": 10.0, "behind_s": 1.0},
        None,
    ),
    Scenario(
        "failover_strict", "a replica takes over, durable=strict", failover.run,
        {"durable": "strict", "calm_s": 10.0, "behind_s": 1.0},
        {"durable": "strict", "calm_s": 1.0, "behind_s": 0.5},
    ),
    Scenario(
        "soak", "a mixed load, workers killed", soak.run,
        {"load_s": 600.0, "ttl_s": 30.0, "kills": 9},
        {"load_s": 15.0, "ttl_s": 6.0, "kills": 1},
    ),
    Scenario(
        "upgrade", "two versions on one Redis", upgrade.run,
        {"jobs": 100, "steps": 60}, {"jobs": 12, "steps": 80},
        missing=upgrade.missing,
    ),
)  # fmt: skip
