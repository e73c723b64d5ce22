"""The chart's backup and restore scripts, on real servers: what was stored comes back."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from redis import Redis

from jobs.queue import Doorbell
from jobs.redis_store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from service.redis_server import free_port
from tests.deploy.tools import CHART, program
from tests.faults.processes import RedisProcess
from tests.jobs.examples import MODEL, spec

pytestmark = pytest.mark.timeout(90)
FILES = CHART / "files"


def script(name: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of the chart's scripts."""
    env: Mapping[str, str] = os.environ | variables
    command = ["sh", str(FILES / name), *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def backup(redis: RedisProcess, folder: Path, keep: int = 2) -> Path:
    """Take a snapshot; return its path."""
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    outcome = script(
        "backup.sh",
        CLI=program("redis-cli"),
        SFUMATO_REDIS_URL=redis.url,
        BACKUP_DIR=str(folder),
        KEEP=str(keep),
    )
    assert outcome.returncode == 0, outcome.stderr
    (made,) = set(folder.iterdir()) - before
    return made


def restore(snapshot: Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Make a snapshot what a server starts from."""
    data.mkdir(exist_ok=True)
    servers = {"SERVER": program("redis-server"), "CLI": program("redis-cli")}
    return script("restore.sh", snapshot, data, **servers)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[RedisProcess]:
    """Run a server on a folder; it is killed in the end."""
    # A server waits five seconds for more replicas before it begins a snapshot for one.
    redis = RedisProcess(folder, free_port(), "--repl-diskless-sync-delay", "0")
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()


@contextlib.asynccontextmanager
async def opened(redis: RedisProcess) -> AsyncIterator[tuple[RedisStore, Doorbell]]:
    """Open store and doorbell on a server."""
    settings = JobsSettings(redis_url=redis.url)
    store, bell = RedisStore(settings), Doorbell(settings)
    try:
        yield store, bell
    finally:
        await store.close()
        bell.close()


async def test_jobs_and_rings_come_back_from_a_backup(tmp_path: Path) -> None:
    data = tmp_path / "new"
    with started(tmp_path / "lost") as redis:
        async with opened(redis) as (store, bell):
            await store.announce_model(MODEL)
            for i in range(20):
                await store.create(f"job{i}", spec(), 10.0)
                await bell.ring(MODEL.name, f"job{i}")
            claim = await store.claim(MODEL.name, "worker", idle=True)
            snapshot = backup(redis, tmp_path / "backups")
    assert claim is not None
    outcome = restore(snapshot, data)
    assert outcome.returncode == 0, outcome.stderr
    with started(data) as again:
        async with opened(again) as (store, bell):
            records = (await store.list(limit=50)).records
            assert len(records) == 20
            running = [record.id for record in records if record.status is JobStatus.RUNNING]
            assert running == [claim.record.id]
            assert await bell.waiting(MODEL.name) == 20
            assert [model.name for model in await store.models()] == [MODEL.name]
            await store.create("later", spec(), 10.0)
    assert "nothing to do" in restore(snapshot, data).stdout, "a restart would lose what came since"
    with started(data) as again, Redis.from_url(again.url) as client:
        assert client.hexists("{sfumato}:job:later", "spec")


def test_what_was_on_the_disk_is_moved_aside(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as redis, Redis.from_url(redis.url) as client:
        client.set("old", "1")
        snapshot = backup(redis, tmp_path / "backups")
        client.set("newer", "1")
    assert restore(snapshot, data).returncode == 0
    assert list(data.glob("before-*/appendonlydir/*"))
    with started(data) as redis, Redis.from_url(redis.url) as client:
        assert client.exists("old", "newer") == 1


def test_a_damaged_snapshot_leaves_the_disk_alone(tmp_path: Path) -> None:
    data, snapshot = tmp_path / "data", tmp_path / "sfumato-x.rdb"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "kept").touch()
    snapshot.write_bytes(b"REDIS0011" + b"\xee" * 50)
    outcome = restore(snapshot, data)
    assert outcome.returncode != 0
    assert "cannot be loaded" in outcome.stderr
    assert (data / "appendonlydir" / "kept").exists()


def test_only_the_newest_backups_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    names = [f"sfumato-2026010{i}T000000Z.rdb" for i in range(1, 5)]
    for name in names:
        (folder / name).touch()
    with started(tmp_path / "data") as redis:
        made = backup(redis, folder, keep=3)
    assert sorted(p.name for p in folder.iterdir()) == [*names[2:], made.name]


def test_a_backup_of_a_server_that_is_away_fails_and_leaves_nothing(tmp_path: Path) -> None:
    outcome = script(
        "backup.sh",
        CLI=program("redis-cli"),
        SFUMATO_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0",
        BACKUP_DIR=str(tmp_path),
        KEEP="2",
    )
    assert outcome.returncode != 0
    assert list(tmp_path.iterdir()) == []
