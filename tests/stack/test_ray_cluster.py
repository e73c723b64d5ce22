"""One of three nodes of a Ray cluster is lost under load: no job is, and the door answers."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from jobs.fleet import WorkerEntry
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.faults.client import Client, until
from tests.processes import PATIENCE_S, door_answers, process, wait
from tests.stack.up import MARK, end_marked, marked

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.alone, pytest.mark.timeout(1200)]

WORKERS = 2
REPLICAS = 2
STEPS = 1000
AFTER_THE_LOSS = 30
BACK_S = 90.0  # Ray notices, Serve starts replicas elsewhere, workers load their model


def descendants(pid: int) -> list[int]:
    """Return the processes below one, itself first."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the thread has ended
                found += [int(child) for child in task.read_text().split()]
    return found


def lose(node: int) -> list[int]:
    """Kill a node's processes as the loss of its machine would; return their ids."""
    pids = descendants(node)
    for signum in (signal.SIGSTOP, signal.SIGKILL):  # none of them sees another one's end
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signum)
    return pids


class Submitter:
    """Submits jobs to a door over HTTP until it is stopped."""

    def __init__(self, url: str) -> None:
        self.accepted: list[str] = []
        self.last_error_at = self.last_answer_at = monotonic()
        self.errors: list[str] = []
        self._url = f"{url}/v1/jobs"
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        body = {"prompt": "a red apple", "num_inference_steps": STEPS}
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            while not self._stopping.is_set():
                try:
                    answer = await http.post(self._url, json=body)
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    self.errors.append(repr(error))
                    self.last_error_at = monotonic()
                else:
                    self.accepted.append(answer.json()["id"])
                await asyncio.sleep(0.2)

    def stop(self) -> None:
        self._stopping.set()


@pytest.fixture
def mark() -> Iterator[str]:
    mark = os.urandom(8).hex()
    yield mark
    end_marked(mark)


async def test_a_lost_node_loses_no_job(
    jobs_settings: JobsSettings, tiny: Path, tmp_path: Path, mark: str
) -> None:
    port, log = free_port(), tmp_path / "cluster.log"
    url = f"http://127.0.0.1:{port}"
    env = {
        MARK: mark, "sfumato_redis_url": jobs_settings.redis_url, "sfumato_threads": 1,
        "sfumato_key_prefix": jobs_settings.key_prefix, "sfumato_model": tiny,
        "sfumato_model_name": "tiny", "sfumato_rows_per_tick": 8, "sfumato_slots": 4,
    }  # fmt: skip
    words = [sys.executable, "-m", "tests.stack.ray_cluster"]
    client = Client(jobs_settings)
    try:
        with process([*words, str(port), str(REPLICAS), str(WORKERS)], log, **env) as cluster:

            def up() -> bool:
                assert cluster.poll() is None, "it has ended"
                return "\nnodes " in log.read_text()

            await asyncio.to_thread(wait, "the cluster", up, 2 * PATIENCE_S)
            await asyncio.to_thread(
                wait, "workers", lambda: door_answers(url, WORKERS), 2 * PATIENCE_S
            )
            await loses_a_node(client, url, nodes_of(log))
    finally:
        await client.close()
    await asyncio.to_thread(wait, "all processes' end", lambda: not marked(mark))


def nodes_of(log: Path) -> list[int]:
    found = re.search("^nodes (.*)$", log.read_text(), re.MULTILINE)
    assert found
    return [int(pid) for pid in found[1].split()]


async def loses_a_node(client: Client, url: str, nodes: list[int]) -> None:
    before = {worker.id: worker for worker in await client.store.workers()}
    with_workers = [node for node in nodes if set(descendants(node)) & pids_of(before.values())]
    submitter = Submitter(url)
    submitting = asyncio.create_task(submitter.run())
    lost = {n for n, w in before.items() if w.pid in set(descendants(with_workers[0]))}
    assert lost
    await until("jobs under way there", lambda: running(client, lost))
    lose(with_workers[0])
    lost_at = monotonic()

    async def back() -> bool:
        live = {worker.id for worker in await client.store.workers()}
        return len(live - lost) >= WORKERS

    await until("as many workers as before", back, BACK_S)
    back_s = monotonic() - lost_at
    more = len(submitter.accepted) + AFTER_THE_LOSS
    await until("jobs after the loss", lambda: reaches(submitter, more))
    submitter.stop()
    await submitting
    records = [await client.ended(name, 300) for name in submitter.accepted]
    wrong = [record for record in records if record.status is not JobStatus.SUCCEEDED]
    print(
        f"{len(records)} jobs, {len(lost)} of {WORKERS} workers lost, back after {back_s:.1f} s,"
        f" the door failed {len(submitter.errors)} times, the last"
        f" {max(0.0, submitter.last_error_at - lost_at):.1f} s after the loss"
    )
    assert not wrong, wrong
    assert any(record.attempts > 1 for record in records), "the lost node had jobs"
    assert submitter.last_error_at - lost_at < BACK_S


def pids_of(workers: Iterable[WorkerEntry]) -> set[int]:
    return {worker.pid for worker in workers}


async def running(client: Client, workers: set[str]) -> bool:
    """Return whether one of these workers is in the middle of a job."""
    held = [job for worker in workers for job in await client.held_by(worker)]
    return any(0 < job.step < STEPS / 2 for job in held)


async def reaches(submitter: Submitter, count: int) -> bool:
    return len(submitter.accepted) >= count
