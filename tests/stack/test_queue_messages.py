"""Messages on a worker's queue that no door has sent."""

import asyncio
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
from kombu import Connection
from redis import Redis

from jobs.queue import TASK, queue_name
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.conftest import Opened
from tests.faults.client import Client, until
from tests.faults.processes import Worker
from tests.processes import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@dataclass(frozen=True)
class Served:
    """A worker and what its queue is reached with."""

    worker: Worker
    settings: JobsSettings
    metrics_port: int

    async def dropped(self) -> float:
        """Return how many messages the worker says it has dropped."""
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        get = partial(httpx.get, url, timeout=PATIENCE_S, trust_env=False)
        text = (await asyncio.to_thread(get)).text
        figure = re.search(r"^sfumato_worker_dropped_messages_total{.*} (.*)$", text, re.M)
        assert figure is not None
        return float(figure[1])


@pytest.fixture(scope="module")
def served(
    redis_url: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    settings = JobsSettings(redis_url=redis_url, key_prefix=f"messages-{os.getpid()}")
    port, log = free_port(), tmp_path_factory.mktemp("messages") / "worker.log"
    worker = Worker(settings, tiny, "w", log, metrics_port=port)
    yield Served(worker, settings, port)
    worker.end()
    print(log.read_text()[-3000:])


async def test_a_pickle_is_refused_and_the_worker_goes_on(
    served: Served, tmp_path: Path, opened: Opened[Client]
) -> None:
    mine, planted = tmp_path / "mine", tmp_path / "planted"
    pickle.loads(pickle.dumps(Touch(mine))).close()
    assert mine.exists()  # it would work where a pickle is read
    client = opened(Client(served.settings))
    await client.workers({"w"})
    queue_key = queue_name(served.settings, "tiny")
    with Connection(served.settings.redis_url) as connection:
        queue = connection.SimpleQueue(queue_key)
        for body in (pickle.dumps(Touch(planted)), b"not json"):
            for kind in ("application/x-python-serialize", "application/json"):
                queue.producer.publish(
                    body, routing_key=queue_key, content_type=kind,
                    content_encoding="binary", headers={"task": TASK, "id": "x"},
                )  # fmt: skip
        queue.close()
    await client.submit("behind-pickles")
    assert await client.picture("behind-pickles")

    async def refused() -> bool:
        said = served.worker.log.read_text()
        return "pickle" in said or "ContentDisallowed" in said

    await until("a line about the refusal", refused)
    assert not planted.exists()
    assert served.worker.alive


async def test_messages_that_are_no_rings_are_dropped_and_counted(
    served: Served, opened: Opened[Client]
) -> None:
    client = opened(Client(served.settings))
    await client.workers({"w"})
    before = await served.dropped()
    with Redis.from_url(served.settings.redis_url) as redis:
        unread = int(redis.hlen("unacked"))
    queue_key = queue_name(served.settings, "tiny")
    foreign: list[tuple[bytes, dict[str, str]]] = [
        (b"[[], {}, {}]", {"task": "another.task", "id": "x"}),
        (b"[1, 2]", {}),
        (b'{"task": "another.task"}', {}),
        (b"not json", {}),
    ]
    with Connection(served.settings.redis_url) as connection:
        producer = connection.Producer()
        for body, headers in foreign:
            producer.publish(
                body, routing_key=queue_key, content_type="application/json",
                content_encoding="utf-8", headers=headers,
            )  # fmt: skip
    raw = [b"\xff", b"{"]
    with Redis.from_url(served.settings.redis_url) as redis:
        redis.lpush(queue_key, *raw)
    await client.submit("behind-others")
    assert await client.picture("behind-others")

    async def all_counted() -> bool:
        return await served.dropped() == before + len(foreign) + len(raw)

    await until("every message to be counted", all_counted)

    async def none_unread() -> bool:
        with Redis.from_url(served.settings.redis_url) as redis:
            return int(redis.hlen("unacked")) <= unread  # none will come back

    await until("every message to be acknowledged", none_unread)
    assert served.worker.alive
