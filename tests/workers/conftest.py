import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffusion.bundle.bundle import Bundle, load_bundle
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.faults.client import until
from tests.workers.harness import Bench
from tests.workers.inside import Inside
from workers.host import WorkerHost
from workers.settings import WorkerSettings

LONG_S = 240.0
"""No process waits as long for a processor."""


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return load_bundle(Path(tiny_bundle(folder)))


@pytest.fixture(scope="session")
def onnx_bundle(exported_tiny: Path) -> Bundle:
    return load_bundle(exported_tiny, backend="onnx")


@pytest.fixture(autouse=True)
def benches_stop(nothing_is_left_open: None) -> Iterator[None]:
    """Stop the engines of a test's benches."""
    yield
    while Bench.running:
        Bench.running.pop().engine.stop()


@pytest.fixture(autouse=True)
def no_worker_ends_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise where a worker in this process would end it: that fails one test, not all of them."""

    def exits(code: int) -> None:
        raise AssertionError(f"a worker ended its process with {code}; its log says why")

    os_of_workers = SimpleNamespace(_exit=exits, EX_SOFTWARE=os.EX_SOFTWARE)
    monkeypatch.setattr("workers.ops.ending.os", os_of_workers)


@pytest.fixture
async def inside(
    request: pytest.FixtureRequest,
    bundle: Bundle,
    jobs_settings: JobsSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Inside]:
    # All that outlasts the worst wait for the processor: other processes run tests, too.
    monkeypatch.setattr("workers.host.FAREWELL_S", LONG_S)
    monkeypatch.setattr("jobs.redis.fleet.WORKER_TTL_S", int(LONG_S))
    options = {"slots": 2, "rows_per_tick": 4, "renew_s": 0.2}
    options |= {"lease_s": 60.0, "stall_s": LONG_S, "hung_s": LONG_S}
    given = getattr(request, "param", {})
    options |= {key: v(tmp_path) if callable(v) else v for key, v in given.items()}
    settings = WorkerSettings.model_validate(jobs_settings.model_dump() | options)
    host = WorkerHost(bundle, settings)
    threads = ThreadPoolExecutor(32)
    store = RedisStore(settings)
    try:
        await until("the model", store.models)
        yield Inside(host, store, threads)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(host.stop)
        await store.close()
