"""A door and a worker that reach Redis through a socket with a password."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from redis import Redis

from jobs.settings import JobsSettings
from service.processes.redis_server import free_port, redis_command
from tests.conftest import Opened
from tests.faults.client import Client
from tests.faults.conftest import Start
from tests.faults.processes import Door
from tests.processes import door_answers, process, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
PASSWORD = "p@ss;/w:rd"


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[JobsSettings]:
    """Run a server that listens on a socket alone."""
    folder, path = tmp_path / "redis", tmp_path / "r.sock"
    folder.mkdir()
    command = [*redis_command(folder, 0), "--unixsocket", str(path), "--requirepass", PASSWORD]
    with process(command, folder / "log"):
        with Redis(unix_socket_path=str(path), password=PASSWORD) as client:
            wait("Redis", lambda: path.exists() and client.ping())
        url = f"unix://:{quote(PASSWORD, safe='')}@{path}?db=2"
        yield JobsSettings(redis_url=url)


async def test_a_job_is_submitted_and_drawn_through_a_socket(
    settings: JobsSettings, start: Start, opened: Opened[Client], tmp_path: Path
) -> None:
    door = Door(settings, free_port(), tmp_path / "door.log")
    door.start()
    worker = start("worker", settings)
    try:
        client = opened(Client(settings))
        await client.workers({"worker"})
        wait("the door", lambda: door_answers(door.url, 1))
        body = {"prompt": "a red apple", "num_inference_steps": 2}
        answer = httpx.post(f"{door.url}/v1/jobs", json=body, trust_env=False)
        assert answer.status_code == 202, answer.text
        await client.picture(answer.json()["id"])
        assert worker.stop() == 0
    finally:
        door.kill()
    for log in (tmp_path / "door.log", tmp_path / "worker.log"):
        assert not any(text in log.read_text() for text in (PASSWORD, quote(PASSWORD, safe="")))
