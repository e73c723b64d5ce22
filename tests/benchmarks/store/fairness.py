"""The store's own order in virtual time: a greedy tenant, weights, and a class that always waits.

The jobs and the claims are real, on a real Redis; only the time of drawing is simulated.
Sixteen places share a speed of ``SPEED`` units a second.
"""

import heapq
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.redis.store import RedisStore
from jobs.schema import Priority
from jobs.settings import JobsSettings
from jobs.tenants import TenantTerms
from tests.benchmarks.figures import quantile
from tests.jobs.examples import spec

PLACES = 16
SPEED = 30.0
SMALL_TENANTS = 9


@dataclass
class Order:
    """A job to come."""

    name: str
    tenant: str
    arrives: float
    units: float
    priority: Priority = Priority.NORMAL
    claimed: float = 0.0
    ends: float = 0.0
    others_units: float = 0.0  # claimed by others while it waited

    @property
    def latency_s(self) -> float:
        """Seconds from its arrival to its end."""
        return self.ends - self.arrives


@dataclass
class Places:
    """The places of the workers: when each is free again."""

    free_at: list[float] = field(default_factory=lambda: [0.0] * PLACES)

    def draw(self, order: Order, now: float) -> None:
        """Take the place that is free and hold it for the job's time."""
        order.claimed, order.ends = now, now + order.units * PLACES / SPEED
        heapq.heapreplace(self.free_at, order.ends)


def first_come(orders: Iterable[Order]) -> None:
    """Serve in order of arrival."""
    places = Places()
    for order in sorted(orders, key=lambda each: each.arrives):
        places.draw(order, max(order.arrives, places.free_at[0]))


async def fair(store: RedisStore, orders: Sequence[Order], until_units: float = 1e12) -> None:
    """Serve in the store's order, until so many units have been claimed."""
    places, coming = Places(), deque(sorted(orders, key=lambda each: each.arrives))
    by_name = {order.name: order for order in orders}
    waiting: set[str] = set()
    claimed = 0.0
    while (coming or waiting) and claimed < until_units:
        now = places.free_at[0]
        if not waiting:
            now = max(now, coming[0].arrives)
        while coming and coming[0].arrives <= now:
            order = coming.popleft()
            wanted = spec(tenant=order.tenant, priority=order.priority)
            await store.create(order.name, wanted, order.units)
            waiting.add(order.name)
            order.others_units = -claimed
        claim = await store.claim("toy", "w", idle=True)
        assert claim is not None
        await store.finish(claim.lease, 1)  # what it has used is all of it
        order = by_name[claim.record.id]
        waiting.remove(order.name)
        order.others_units += claimed
        claimed += order.units
        places.draw(order, now)


def _greedy_and_small(seed: int) -> list[Order]:
    chooser = random.Random(seed)
    orders = [Order(f"greedy{i}", "greedy", 0.0, 30.0) for i in range(1000)]
    for tenant in range(SMALL_TENANTS):
        at = 0.0
        while (at := at + chooser.expovariate(1 / 60)) < 900:
            orders.append(Order(f"small{len(orders)}", f"small{tenant}", at, 30.0))
    return orders


def _latencies(orders: Iterable[Order], of: str) -> list[float]:
    return [order.latency_s for order in orders if order.tenant.startswith(of)]


async def greedy(store: RedisStore) -> dict[str, Any]:
    """Compare with first come, first served: one tenant queues 1000 jobs, nine a few at a time."""
    by_age, by_share = _greedy_and_small(1), _greedy_and_small(1)
    first_come(by_age)
    await fair(store, by_share)
    alone_s = 30.0 * PLACES / SPEED
    figures: dict[str, Any] = {"alone_s": alone_s}
    for who in ("small", "greedy"):
        before, after = _latencies(by_age, who), _latencies(by_share, who)
        figures[who] = {
            "jobs": len(after),
            "mean_s": round(sum(after) / len(after), 1),
            "p95_s": round(quantile(after, 0.95), 1),
            "max_s": round(max(after), 1),
            "mean_over_first_come": round(sum(after) / sum(before), 3),
            "p95_over_first_come": round(quantile(after, 0.95) / quantile(before, 0.95), 3),
        }
    return figures


async def shares(store: RedisStore) -> dict[str, Any]:
    """Serve three tenants that always have work, of different weights and sizes of jobs."""
    weights, sizes = {"one": 1.0, "two": 2.0, "five": 5.0}, {"one": 90.0, "two": 30.0, "five": 10.0}
    orders = []
    for name, weight in weights.items():
        await store.tenants.set(TenantTerms(name=name, weight=weight))
        orders += [Order(f"{name}{i}", name, 0.0, sizes[name]) for i in range(600)]
    await fair(store, orders, until_units=8000)
    served = sorted((o for o in orders if o.ends), key=lambda order: order.claimed)
    done: dict[str, float] = defaultdict(float)
    worst = 0.0
    for order in served:
        done[order.tenant] += order.units
        total = sum(done.values())
        if total >= 800:
            ideal = {name: weight * total / 8 for name, weight in weights.items()}
            worst = max(worst, *(abs(done[name] - ideal[name]) for name in weights))
    total = sum(done.values())
    return {
        "share": {name: round(done[name] / total, 3) for name in weights},
        "wanted": {name: round(weight / 8, 3) for name, weight in weights.items()},
        "largest_difference_units": round(worst, 1),
        "largest_job_units": max(sizes.values()),
    }


async def starvation(store: RedisStore, share: float) -> dict[str, Any]:
    """Queue low jobs below a high class that brings 1.2 times what the workers can do."""
    chooser = random.Random(1)
    orders = [Order(f"first{i}", "busy", 0.0, 30.0, Priority.HIGH) for i in range(2 * PLACES)]
    orders += [Order(f"low{i}", "patient", 0.0, 30.0, Priority.LOW) for i in range(10)]
    at = 0.0
    while at < 8000:
        at += chooser.expovariate(1.2 * SPEED / 30)
        orders.append(Order(f"high{len(orders)}", "busy", at, 30.0, Priority.HIGH))
    await fair(store, orders, until_units=10 * 30 / share + 2000)
    low = [order for order in orders if order.tenant == "patient"]
    # Its class is owed ``share`` of what those above it get, and all before it in the class goes
    # first; the claim that completes what is owed may be larger than that by a job.
    bounds = [(i + 1) * 30.0 / share + i * 30.0 + 30.0 for i in range(len(low))]
    return {
        "class_share": share,
        "low_jobs": len(low),
        "claimed": sum(order.ends > 0 for order in low),
        "others_units_before_each": [round(order.others_units) for order in low],
        "largest_over_bound": round(
            max(order.others_units / bound for order, bound in zip(low, bounds, strict=True)), 3
        ),
    }


async def measure(url: str) -> dict[str, Any]:
    """Return latencies against first come, shares against weights, and waits against the bound."""
    figures: dict[str, Any] = {}
    for name, run in (("greedy", greedy), ("shares", shares)):
        store = RedisStore(JobsSettings(redis_url=url, key_prefix=name))
        figures[name] = await run(store)
        await store.close()
    for share in (0.05, 0.2):
        settings = JobsSettings(redis_url=url, key_prefix=f"share-{share}", class_share=share)
        store = RedisStore(settings)
        figures[f"starvation_{share}"] = await starvation(store, share)
        await store.close()
    return figures
