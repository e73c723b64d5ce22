"""Door and worker on a Redis behind a socket, and on one that would lose jobs."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError

from jobs.settings import JobsSettings
from service.processes.ports import free_port
from service.processes.redis_server import redis_command
from tests.conftest import Opened
from tests.faults.client import Client
from tests.faults.processes import Door, Worker
from tests.processes import PATIENCE_S, door_answers, process, wait
from tests.redis_server import redis_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PASSWORD = "p@ss;/w:rd"


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


@pytest.fixture
def behind_a_socket(tmp_path: Path) -> Iterator[JobsSettings]:
    """Run a server that listens on a socket alone."""
    folder, path = tmp_path / "redis", tmp_path / "r.sock"
    folder.mkdir()
    command = [*redis_command(folder, 0), "--unixsocket", str(path), "--requirepass", PASSWORD]
    with process(command, folder / "log"):
        with Redis(unix_socket_path=str(path), password=PASSWORD) as client:
            wait("Redis", lambda: answers(client))
        url = f"unix://:{quote(PASSWORD, safe='')}@{path}?db=2"
        yield JobsSettings(redis_url=url)


def started(
    settings: JobsSettings, tiny: Path, folder: Path, ends: ExitStack
) -> tuple[Door, Worker]:
    """Start a door and a worker."""
    door = Door(settings, free_port(), folder / "door.log")
    ends.callback(door.kill)
    door.start()
    worker = Worker(settings, tiny, "worker", folder / "worker.log")
    ends.callback(worker.end)
    return door, worker


async def test_a_job_is_submitted_and_drawn_through_a_socket(
    behind_a_socket: JobsSettings,
    tiny: Path,
    tmp_path: Path,
    ends: ExitStack,
    opened: Opened[Client],
) -> None:
    door, worker = started(behind_a_socket, tiny, tmp_path, ends)
    client = opened(Client(behind_a_socket))
    await client.workers({"worker"})
    wait("the door", lambda: door_answers(door.url, 1))
    body = {"prompt": "a red apple", "num_inference_steps": 2}
    answer = httpx.post(f"{door.url}/v1/jobs", json=body, trust_env=False, timeout=PATIENCE_S)
    assert answer.status_code == 202, answer.text
    await client.picture(answer.json()["id"])
    assert worker.stop() == 0
    for log in (tmp_path / "door.log", tmp_path / "worker.log"):
        assert not any(text in log.read_text() for text in (PASSWORD, quote(PASSWORD, safe="")))


def test_neither_door_nor_worker_starts_on_a_redis_that_evicts(
    tiny: Path, tmp_path: Path, ends: ExitStack
) -> None:
    url = ends.enter_context(redis_server(tmp_path / "redis"))
    with Redis.from_url(url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    door, worker = started(JobsSettings(redis_url=url), tiny, tmp_path, ends)
    for ended, name in ((door.process, "door"), (worker.process, "worker")):
        assert ended is not None
        assert ended.wait(PATIENCE_S) not in (0, None)
        log = (tmp_path / f"{name}.log").read_text()
        assert "its maxmemory-policy is allkeys-lru; set it to noeviction" in log
        assert "Traceback" not in log
