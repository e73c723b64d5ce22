"""A worker of several models: its settings, what it refuses, and who may load a model."""

import asyncio
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.bundle.contents import weight_bytes
from jobs.errors import StartError
from jobs.queue import queue_name
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.bundles import named, tiny_bundle
from tests.faults.client import until
from workers.check import main
from workers.host import SPARE_ANSWERS, WorkerHost
from workers.settings import WorkerSettings


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_bundle(folder / "one"), named(tiny_bundle(folder / "two", seed=1), "two")


def test_each_model_has_settings_of_its_own(models: tuple[Path, Path]) -> None:
    one, two = models
    alone = WorkerSettings(model=one, worker_id="w")
    assert alone.each == (alone,)
    settings = WorkerSettings.model_validate(
        {"model": one, "pool": f" {two}, emoji,", "worker_id": "w"}
    )
    assert [(s.model_name, s.worker_id) for s in settings.each] == [
        ("tiny", "w/tiny"),
        ("two", "w/two"),
        ("emoji", "w/emoji"),
    ]
    assert [s.model for s in settings.each][:2] == [one, two]


def test_what_is_wrong_is_named(
    models: tuple[Path, Path],
    bundle: Bundle,
    jobs_settings: JobsSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = models
    monkeypatch.setenv("SFUMATO_POOL", "nothing-of-this-name")
    assert main([]) == 1
    assert "SFUMATO_POOL: nothing-of-this-name is neither" in capsys.readouterr().err
    monkeypatch.setenv("SFUMATO_POOL", f"{two},{two}")
    assert main([]) == 1
    assert "two models have the name two" in capsys.readouterr().err
    monkeypatch.setenv("SFUMATO_POOL", str(two))
    monkeypatch.setenv("SFUMATO_MODEL", str(one))
    assert main([]) == 0
    assert capsys.readouterr().out.count("on cpu") == 2
    monkeypatch.delenv("SFUMATO_POOL")
    given = jobs_settings.model_dump() | {"model": one, "slots": 2, "rows_per_tick": 4}
    small = weight_bytes(two) - 1
    settings = WorkerSettings.model_validate(given | {"pool": str(two), "model_memory": small})
    with pytest.raises(StartError, match=f"SFUMATO_MODEL_MEMORY is {small}"):
        WorkerHost(bundle, settings)


def test_a_model_that_makes_room_is_gone(
    models: tuple[Path, Path], jobs_settings: JobsSettings
) -> None:
    one, two = models
    memory = weight_bytes(one) + weight_bytes(two) - 1
    given = {"model": one, "pool": str(two), "model_memory": memory, "slots": 2, "rows_per_tick": 4}
    settings = WorkerSettings.model_validate(jobs_settings.model_dump() | given)
    bundles = [load_bundle(one)]
    gone = weakref.ref(bundles[0])
    host = WorkerHost(bundles.pop(), settings)
    try:
        assert list(host.served) == ["two"]
        assert gone() is None, "its weights are still held"
        assert host.summary["model"] == "tiny, two"
    finally:
        host.stop()


async def test_rings_beyond_the_slots_are_left_to_other_workers(
    models: tuple[Path, Path], jobs_settings: JobsSettings
) -> None:
    one, two = models
    given = {"model": one, "pool": str(two), "slots": 2, "rows_per_tick": 4}
    settings = WorkerSettings.model_validate(jobs_settings.model_dump() | given)
    listened: list[tuple[str, bool]] = []
    bundle = await asyncio.to_thread(load_bundle, one)
    host = await asyncio.to_thread(
        WorkerHost, bundle, settings, lambda queue, wanted: listened.append((queue, wanted))
    )
    queue, go_on = queue_name(settings, "two"), threading.Event()

    async def waits(_ring: str) -> None:
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    vars(host.served["two"].runtime)["answer"] = waits
    most = settings.slots + SPARE_ANSWERS
    with ThreadPoolExecutor(most) as threads:
        for _ in range(most - 1):
            threads.submit(host.answer, "", queue)
        await asyncio.sleep(0.2)
        assert listened == []
        threads.submit(host.answer, "", queue)
        await until("it takes no more", lambda: _is(listened, [(queue, False)]))
        go_on.set()
    assert listened == [(queue, False), (queue, True)]
    await asyncio.to_thread(host.stop)


async def _is(found: object, wanted: object) -> bool:
    return found == wanted


async def test_one_worker_at_a_time_loads_a_model(store: RedisStore) -> None:
    assert await store.take_load("toy", "a", 60.0)
    assert not await store.take_load("toy", "b", 60.0)
    assert await store.take_load("other", "b", 60.0)
