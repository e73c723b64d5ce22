"""``sfumato workers``: the live workers, and taking one out, directly in Redis.

It uses the Redis of ``SFUMATO_REDIS_URL``, or that of a running `sfumato up`.
"""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from typing import Annotated

import typer

from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from service.cli.operators.store_command import DEFAULT_DATA, DataOption, in_store
from service.cli.shared.table import print_table
from service.cli.shared.terminal import print_error

app = typer.Typer(no_args_is_help=True, help=__doc__)
IdArgument = Annotated[str, typer.Argument(help="The worker's id, as `sfumato workers list` says.")]
POLL_S = 0.2


@app.command("list")
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List the live workers."""
    found = in_store(RedisStore, data, lambda store: store.workers())
    if as_json:
        print(json.dumps([asdict(each) for each in found], indent=2))
        return
    print_table(
        ("worker", "model", "backend", "host", "pid", "slots", "jobs", "state", "since"),
        [
            (
                each.id,
                each.model,
                each.backend,
                each.host,
                each.pid,
                each.slots,
                each.jobs,
                "draining" if each.draining else "ready",
                f"{datetime.fromtimestamp(each.started_at, UTC):%Y-%m-%d %H:%M:%SZ}",
            )
            for each in found
        ],
    )


@app.command("drain")
def drain_command(
    worker: IdArgument,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.0, max=86_400.0, help="Seconds to wait.")
    ] = 60.0,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Have a worker give its jobs to others and take none, and wait until it holds none.

    Jobs go on elsewhere from where they are. The worker stays up until it is stopped, and takes
    jobs again after `sfumato workers resume`.
    """
    left = in_store(RedisStore, data, lambda store: _drain(store, worker, timeout_s))
    if left is None:
        _unknown(worker)
    if left:
        held = f"{left} jobs" if left > 1 else "a job"
        print_error(f"after {timeout_s:g} s worker {worker} still holds {held}; it goes on")
        raise typer.Exit(1)
    print(f"worker {worker} holds no job and takes none; it can be stopped")


@app.command("resume")
def resume_command(worker: IdArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Have a drained worker take jobs again."""
    if not in_store(RedisStore, data, lambda store: _want(store, worker, drained=False)):
        _unknown(worker)


async def _drain(store: RedisStore, worker: str, timeout_s: float) -> int | None:
    """Return how many jobs the worker still holds, None if it is not live."""
    if not await _want(store, worker, drained=True):
        return None
    until = monotonic() + timeout_s
    while entries := await _entries(store, worker):  # until it has been stopped
        jobs = sum(entry.jobs for entry in entries)
        if not jobs and all(entry.draining for entry in entries):
            break
        if monotonic() > until:
            return max(1, jobs)
        await asyncio.sleep(POLL_S)
    return 0


async def _want(store: RedisStore, worker: str, *, drained: bool) -> bool:
    """Return whether the worker is live."""
    entries = await _entries(store, worker)
    return any([await store.drain_worker(entry.id, wanted=drained) for entry in entries])


async def _entries(store: RedisStore, worker: str) -> list[WorkerEntry]:
    """Return a worker's entries: one for each of its models, or that of one of them."""
    return [each for each in await store.workers() if each.is_of(worker)]


def _unknown(worker: str) -> None:
    print_error(f"no live worker has the id {worker!r}; see `sfumato workers list`")
    raise typer.Exit(1)
