"""Nothing starts on a Redis that would lose jobs, and what runs says so when one begins to."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from jobs.settings import JobsSettings
from service.processes.redis_server import free_port
from tests.faults.conftest import Start
from tests.faults.processes import Door
from tests.redis_server import redis_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def evicting(tmp_path: Path) -> Iterator[JobsSettings]:
    """Run a server that evicts."""
    with redis_server(tmp_path / "redis") as url:
        with Redis.from_url(url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        yield JobsSettings(redis_url=url)


def test_neither_door_nor_worker_starts_on_a_redis_that_evicts(
    start: Start, evicting: JobsSettings, tmp_path: Path
) -> None:
    door = Door(evicting, free_port(), tmp_path / "door.log")
    door.start()
    worker = start("worker", evicting)
    try:
        for process, name in ((door.process, "door"), (worker.process, "worker")):
            assert process is not None
            assert process.wait(60) not in (0, None)
            log = (tmp_path / f"{name}.log").read_text()
            assert "its maxmemory-policy is allkeys-lru; set it to noeviction" in log
            assert "Traceback" not in log
    finally:
        door.kill()
