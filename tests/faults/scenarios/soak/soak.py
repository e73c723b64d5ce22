"""A mixed load on the real stack, with workers that die: afterwards nothing is left of it."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from redis.asyncio import Redis

from jobs.cancelling import end
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.processes import Door, Worker
from tests.faults.scenarios.soak.load import Load
from tests.faults.scenarios.soak.watch import Held, Watch, growth, held, over_time
from tests.faults.stage import Fleet, Stage
from tests.processes import PATIENCE_S

PLACES = 2
WARM_S = 4.0
GROWTH_MB = 24.0
"""What a process may gain between its second quarter and its last: caches, a ragged heap."""
JUDGED_FROM_S = 120.0
"""A shorter life says nothing of growth."""
MOST_MEMORY = 1.05
SETTLE_S = 60.0
"""For what a load took to be given back."""
SPARE_DEATHS = 10
OF_A_JOB = re.compile(":(job|events|images?|previews?|checkpoint|idempotency):")
OF_THE_SERVICE = re.compile(r"^\{sfumato\}:\w+(:tiny)?$")
"""Its own keys and its model's: as many of them whatever jobs there were."""
OF_THE_BROKER = {"unacked", "unacked_index", "unacked_mutex"}
"""Kombu's: messages on their way to a worker, given back an hour after it was killed."""
UNTAKEN = 16
"""Messages that a worker may have been on its way to take when it was killed: one a thread."""
WORKER = re.compile(r"w\d-\d+")
POOLED = 16
"""Threads and connections that the pools of a process, or of Redis' clients, keep after a peak."""
FILES = 4
"""Files that a process may open once and keep: sources of randomness, shared libraries' data."""


@dataclass(frozen=True)
class Rest:
    """What is there while nothing runs."""

    memory_bytes: int  # of Redis, its clients' buffers left out
    keys: set[str]  # without the workers' ids
    unacked: int  # messages on their way to a worker
    held: dict[str, Held]  # by process


async def run(stage: Stage, *, load_s: float, ttl_s: float, kills: int) -> Outcome:
    """Every job ends as it should; memory, counters, threads, files, keys and backlog come back."""
    outcome = Outcome()
    server = stage.redis()
    settings = JobsSettings(
        redis_url=server.url, lease_s=2.0, result_ttl_s=ttl_s, record_ttl_s=ttl_s,
        idempotency_ttl_s=ttl_s, max_deaths=kills + SPARE_DEATHS,
    )  # fmt: skip
    watch = Watch({}, {"redis": server.pid})
    fleet, door = _fleet(stage, settings, watch), _door(stage, settings, watch)
    client, redis = stage.client(settings), stage.connect(server)
    await client.workers(fleet.names)
    watching = asyncio.create_task(watch.run())
    try:
        await _play(door, WARM_S, ttl_s, fleet, kills=0)
        before = await _rest(redis, watch, ttl_s)
        load = await _play(door, load_s, ttl_s, fleet, kills)
        await client.workers(fleet.names)
        after = await _settled(redis, watch, ttl_s, before, kills)
    finally:
        await end(watching)
    _judge_jobs(outcome, load)
    _judge_rest(outcome, before, after, kills)
    _judge_processes(outcome, watch, load_s)
    backlog = await client.store.backlog("tiny")
    outcome.expect((backlog.units, backlog.pending_jobs) == (0, 0), f"no backlog, not {backlog}")
    return outcome


def _fleet(stage: Stage, settings: JobsSettings, watch: Watch) -> Fleet:
    def start(name: str) -> Worker:
        port = free_port()
        log = stage.folder / f"{name}.log"
        worker = Worker(settings, stage.model, name, log, metrics_port=port)
        watch.urls[name], watch.pids[name] = f"http://127.0.0.1:{port}/metrics", worker.pid
        return worker

    fleet = Fleet("w", start, PLACES)
    stage.closes(fleet.close)
    fleet.supervise()
    return fleet


def _door(stage: Stage, settings: JobsSettings, watch: Watch) -> Door:
    door = stage.door(settings)
    assert door.process is not None
    watch.urls["door"], watch.pids["door"] = f"{door.url}/metrics", door.process.pid
    return door


async def _play(door: Door, load_s: float, ttl_s: float, fleet: Fleet, kills: int) -> Load:
    """Give load for so long, with so many workers killed meanwhile."""
    load = Load(door.url, ttl_s)
    giving = asyncio.create_task(load.run())
    for number in range(kills + 1):
        await asyncio.sleep(load_s / (kills + 1))
        if number < kills:
            fleet.workers[number % PLACES].kill()
    load.stop()
    await giving
    return load


async def _rest(redis: Redis, watch: Watch, ttl_s: float) -> Rest:
    """Return what is there once the last results ran out."""
    keys: set[str] = set()

    async def quiet() -> bool:
        keys.clear()
        keys.update([key.decode() async for key in redis.scan_iter(count=1000)])
        return not any(OF_A_JOB.search(key) for key in keys)

    await until("results to run out", quiet, ttl_s + PATIENCE_S, seen=lambda: sorted(keys)[:20])
    info = await redis.info("memory")
    memory = info["used_memory"] - info["mem_clients_normal"]
    kinds = {WORKER.sub("", key) for key in keys}
    unacked = int(await redis.hlen("unacked"))
    return Rest(memory, kinds, unacked, dict(_living(watch)))


def _living(watch: Watch) -> Iterator[tuple[str, Held]]:
    for name, pid in watch.pids.items():
        with contextlib.suppress(OSError):  # it has been killed
            yield name, held(pid)


async def _settled(redis: Redis, watch: Watch, ttl_s: float, before: Rest, kills: int) -> Rest:
    """Return what is there once it is as little as before, or after a while."""
    until_s = monotonic() + SETTLE_S
    while True:
        after, found = await _rest(redis, watch, ttl_s), Outcome()
        _judge_rest(found, before, after, kills)
        if not found.broken or monotonic() > until_s:
            return after
        await asyncio.sleep(0.5)


def _judge_jobs(outcome: Outcome, load: Load) -> None:
    wrong = {
        job_id: load.ended.get(job_id)
        for job_id in load.accepted
        if load.ended.get(job_id) != "succeeded" and job_id not in load.canceled | load.late
    }
    outcome.note("jobs", len(set(load.accepted)))
    outcome.expect(not wrong, f"every job that nobody canceled succeeds: {list(wrong.items())[:5]}")
    bad = {status: count for status, count in load.answers.items() if status >= 400}
    outcome.expect(not bad, f"no request fails: {bad}")
    outcome.spread("running_s", load.running)
    outcome.spread("first_to_last_image_s", load.spreads)


def _judge_rest(outcome: Outcome, before: Rest, after: Rest, kills: int) -> None:
    ratio = after.memory_bytes / before.memory_bytes
    outcome.note("redis_memory_ratio", ratio)
    outcome.expect(ratio <= MOST_MEMORY, f"Redis' memory comes back, not to {ratio:.3f}")
    untaken = after.unacked - before.unacked
    outcome.expect(untaken <= UNTAKEN * kills, f"messages are taken: {untaken} are not")
    left = after.keys - before.keys - OF_THE_BROKER
    new = sorted(key for key in left if not OF_THE_SERVICE.match(key))
    outcome.expect(not new, f"no key is left: {new[:5]}")
    for name in before.held.keys() & after.held.keys():
        was, now = before.held[name], after.held[name]
        outcome.expect(
            now.threads <= was.threads + POOLED, f"{name}: {was.threads} threads, now {now.threads}"
        )
        outcome.expect(
            now.files <= was.files + FILES, f"{name}: {was.files} files, now {now.files}"
        )
        outcome.expect(
            now.sockets <= was.sockets + POOLED, f"{name}: {was.sockets} sockets, now {now.sockets}"
        )


def _judge_processes(outcome: Outcome, watch: Watch, load_s: float) -> None:
    outcome.expect(not watch.fallen, f"counters only rise: {watch.fallen[:3]}")
    print(f"resident memory, MB, over time:\n{over_time(watch.memory)}")
    for name, (second, last) in growth(watch.memory).items():
        outcome.note(f"{name}_mb", last)
        if load_s >= JUDGED_FROM_S:
            outcome.expect(
                last - second <= GROWTH_MB, f"{name} grows from {second:.0f} to {last:.0f} MB"
            )
