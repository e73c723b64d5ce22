"""How many workers the backlog wants, and what Serve gets while it is unknown."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import StartError
from jobs.host.addresses import reachable
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from service.processes.worker_process import own_metrics_port
from service.ray_serve.autoscaling import BacklogPolicy
from service.ray_serve.backlog_watch import BacklogWatch
from service.ray_serve.worker_settings import worker_settings
from tests.conftest import Opened
from tests.faults.client import until
from tests.jobs.examples import MODEL, spec, work


@pytest.fixture
async def watch(jobs_settings: JobsSettings, opened: Opened[BacklogWatch]) -> BacklogWatch:
    return opened(BacklogWatch("toy", jobs_settings))


async def test_a_watch_has_the_latest_signal_at_once(
    watch: BacklogWatch, store: RedisStore
) -> None:
    assert watch.latest() is None

    async def unknown() -> bool:
        seen = watch.latest()
        return seen is not None and not seen.announced

    await until("an unknown model", unknown)
    await store.announce_model(MODEL)
    await store.create("a", spec(), work(spec()))

    async def outstanding() -> bool:
        seen = watch.latest()
        return seen is not None and seen.backlog_s > 0

    await until("the backlog", outstanding)


async def test_a_watch_has_no_signal_while_the_store_is_away() -> None:
    settings = JobsSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    watch = BacklogWatch("toy", settings)
    assert watch.latest() is None
    await watch.close()  # its reading has failed by then
    assert watch.latest() is None


async def test_serve_s_policy_keeps_what_there_is_until_it_knows_and_starts_one_for_a_new_model(
    jobs_settings: JobsSettings,
    store: RedisStore,
    redis: Any,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    opened: Opened[BacklogWatch],
) -> None:
    monkeypatch.setenv("SFUMATO_REDIS_URL", jobs_settings.redis_url)
    monkeypatch.setenv("SFUMATO_KEY_PREFIX", jobs_settings.key_prefix)
    policy = BacklogPolicy("toy", target_s=1.0)
    opened(policy._watch)
    context = SimpleNamespace(target_num_replicas=7)
    assert policy(context) == (7, {})

    async def wants(count: int) -> bool:
        return policy(context) == (count, {})

    await until("one worker, to announce the model", lambda: wants(1))
    measured = MODEL.model_copy(update={"units_per_s": 4.0})
    await store.announce_model(measured)
    await until("none for no work", lambda: wants(0))
    await store.create("a", spec(), work(spec()))
    await until("three for 2.5 s of work", lambda: wants(3))
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    await until("one worker anew, once the catalogue is lost", lambda: wants(1))


def test_settings_are_arguments_or_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_RAY_MAX_WORKERS", "3")
    settings = worker_settings({"ray_target_s": "20", "model": "/models/x", "model_name": "x"})
    assert (settings.ray_max_workers, settings.ray_target_s, settings.name) == (3, 20.0, "x")
    assert settings.worker_env == {"SFUMATO_MODEL": "/models/x", "SFUMATO_MODEL_NAME": "x"}
    assert worker_settings({}).name == "emoji"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"max_workers": "3"}, "max_workers"),
        ({"ray_max_workers": "many"}, "SFUMATO_RAY_MAX_WORKERS"),
        ({"ray_min_workers": 5, "ray_max_workers": 3}, "SFUMATO_RAY_MIN_WORKERS"),
        ({"model": Path("/models/x")}, "SFUMATO_MODEL_NAME"),
    ],
)
def test_a_bad_setting_is_named_at_the_start(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(StartError, match=named):
        worker_settings(arguments)


def test_workers_of_one_machine_take_ports_of_their_own() -> None:
    assert own_metrics_port("127.0.0.1", 0, 3) > 0
    first = free_port()
    assert own_metrics_port("127.0.0.1", first, 0) >= first
    assert reachable("0.0.0.0") == "127.0.0.1"
    assert reachable("::") == "[::1]"
    assert reachable("10.0.0.7") == "10.0.0.7"
