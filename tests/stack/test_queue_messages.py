"""What a worker makes of messages on its queue that no door has sent."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from jobs.queue import TASK, queue_name
from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.processes import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def worker(jobs_settings: JobsSettings, tiny: Path, tmp_path: Path) -> Iterator[Worker]:
    started = Worker(jobs_settings, tiny, "w", tmp_path / "worker.log")
    yield started
    started.end()
    print(started.log.read_text()[-3000:])


async def test_a_pickle_is_refused_and_the_worker_goes_on(
    worker: Worker, jobs_settings: JobsSettings, tmp_path: Path
) -> None:
    mine, planted = tmp_path / "mine", tmp_path / "planted"
    pickle.loads(pickle.dumps(Touch(mine))).close()
    assert mine.exists()  # it would work where a pickle is read
    client = Client(jobs_settings)
    await client.workers({"w"})
    with Connection(jobs_settings.redis_url) as connection:
        queue = connection.SimpleQueue(queue_name(jobs_settings, "tiny"))
        for body in (pickle.dumps(Touch(planted)), b"not json"):
            for kind in ("application/x-python-serialize", "application/json"):
                queue.producer.publish(
                    body, routing_key=queue_name(jobs_settings, "tiny"), content_type=kind,
                    content_encoding="binary", headers={"task": TASK, "id": "x"},
                )  # fmt: skip
        queue.close()
    await client.submit("job")
    assert await client.picture("job")

    async def refused() -> bool:
        return "pickle" in worker.log.read_text() or "ContentDisallowed" in worker.log.read_text()

    await until("a line about the refusal", refused, 20)
    assert not planted.exists()
    assert worker.process.poll() is None
    await client.close()
