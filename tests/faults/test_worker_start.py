"""A worker starts without writing to the environment beside its threads, or not at all."""

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.faults import children
from tests.faults.client import Client
from tests.faults.conftest import Start
from tests.processes import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OURS = {"engine", "publisher", "probes", "watchdog"}


def watched_worker(words: list[str]) -> None:
    """Run a worker that prints every write to the environment beside a thread of ours."""

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in ("os.putenv", "os.unsetenv"):
            beside = OURS & {thread.name for thread in threading.enumerate()}
            if beside:
                print("WRITTEN", args, "beside", sorted(beside), flush=True)

    sys.addaudithook(hook)
    os.environ["SFUMATO_TEST"] = "the hook sees this"
    children.worker(words)


async def test_the_environment_is_not_written_beside_threads(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """C libraries read it without a lock: a read during a write is a segmentation fault."""
    worker = start("watched", target=watched_worker)
    await client.workers({"watched"})
    await client.submit("job")
    await client.all_ended(1, PATIENCE_S)
    assert worker.stop() == 0
    assert "WRITTEN" not in (tmp_path / "watched.log").read_text()


def test_a_taken_port_ends_the_worker(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start("deaf", metrics_host="127.0.0.1", metrics_port=port)
        assert worker.process.wait(PATIENCE_S) not in (0, None)
    log = (tmp_path / "deaf.log").read_text()
    assert f"SFUMATO_METRICS_PORT {port}: Address already in use" in log
