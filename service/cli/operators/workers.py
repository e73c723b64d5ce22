"""``sfumato workers``: list the live workers; drain and resume them, directly in Redis."""

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
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.options import (
    DEFAULT_URL,
    ApiKeyOption,
    JsonOption,
    UrlOption,
    has_verb,
)
from service.cli.shared.table import print_table
from service.cli.shared.terminal import connected, print_error

app = typer.Typer()
IdArgument = Annotated[str, typer.Argument(help="The worker's id, from `sfumato workers list`.")]
POLL_S = 0.2


@app.callback(invoke_without_command=True)
def workers_command(
    context: typer.Context,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the live workers; drain and resume them.

    Without a command, this lists a service's workers over HTTP. The commands use the
    Redis in `SFUMATO_REDIS_URL`, or that of a running `sfumato up`.
    """
    if has_verb(context):
        return
    with connected(url, api_key) as client:
        found = client.workers()
    if as_json:
        print(json.dumps([each.model_dump(mode="json") for each in found], indent=2))
        return
    print_table(
        ("worker", "model", "backend", "slots", "jobs", "rows/s", "state"),
        [
            (
                each.id,
                each.model,
                each.backend,
                each.slots,
                each.jobs,
                f"{each.rows_per_s:.1f}",
                "draining" if each.draining else "ready" if each.loaded else "not loaded",
            )
            for each in found
        ],
    )


@app.command("list")
def list_command(as_json: JsonOption = False, data: DataOption = DEFAULT_DATA) -> None:
    """List the live workers from Redis; no door need be running."""
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
    """Make a worker hand its jobs back and take no more, and wait until it holds none.

    The jobs continue on other workers where they left off. The worker stays up until it is
    stopped, and takes jobs again after `sfumato workers resume`.
    """
    left = in_store(RedisStore, data, lambda store: _drain(store, worker, timeout_s))
    if left is None:
        _unknown(worker)
    if left:
        held = f"{left} jobs" if left > 1 else "a job"
        print_error(
            f"after {timeout_s:g} s worker {worker} still holds {held}; it is still draining"
        )
        raise typer.Exit(ExitCode.FAILED)
    print(f"worker {worker} holds no jobs and takes no more; it can be stopped")


@app.command("resume")
def resume_command(worker: IdArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Let a drained worker take jobs again."""
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
    raise typer.Exit(ExitCode.FAILED)
