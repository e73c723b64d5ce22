"""What a worker makes of messages on its queue that no door has sent."""

import asyncio
import json
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kombu import Connection
from redis import Redis

from jobs.queue import TASK, queue_name
from jobs.settings import JobsSettings
from service.redis_server import free_port
from tests.conftest import Opened
from tests.faults.client import Client, until
from tests.faults.processes import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def message(headers: object, body: str = "[[], {}, {}]") -> dict[str, object]:
    """Return what kombu puts on a Redis list, with these headers."""
    return {
        "body": body, "content-encoding": "utf-8", "content-type": "application/json",
        "headers": headers, "properties": PROPERTIES,
    }  # fmt: skip


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
        text = (await asyncio.to_thread(httpx.get, url)).text
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


PROPERTIES = {
    "delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}, "priority": 0,
}  # fmt: skip
RING = {"task": TASK, "id": "x", "lang": "py"}
NO_RINGS: tuple[object, ...] = (
    7, "seven", None, [1], {}, {"properties": 1}, {"properties": {"delivery_tag": "t"}},
    message({"task": TASK}), message({"task": [TASK]}), message({"task": "another.task"}),
    message({"task": "another.task", "id": "x"}), message(None), message([TASK]), message("x"),
    message(RING | {"eta": "soon"}), message(RING | {"expires": [1]}),
    message(RING | {"timelimit": 3}), message(RING | {"compression": "no such"}),
    message(RING) | {"properties": PROPERTIES | {"delivery_tag": {"a": "dict"}}},
    message(RING) | {"properties": PROPERTIES | {"body_encoding": "no such"}},
    message({}, body="[1, 2]"), message({}, body=json.dumps({"task": TASK})),
    message({}, body=json.dumps({"task": "another.task"})),
)  # fmt: skip


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
    raw = [b"\xff", b"{", b"[" * 100_000, *(json.dumps(each).encode() for each in NO_RINGS)]
    with Redis.from_url(served.settings.redis_url) as redis:
        for each in raw:
            redis.lpush(queue_name(served.settings, "tiny"), each)
        unread = int(redis.hlen("unacked"))
    await client.submit("behind-others")
    assert await client.picture("behind-others")

    async def all_counted() -> bool:
        return await served.dropped() == before + len(raw)

    await until("every message to be counted", all_counted)
    with Redis.from_url(served.settings.redis_url) as redis:
        assert redis.hlen("unacked") <= unread  # none will come back
    assert served.worker.alive
