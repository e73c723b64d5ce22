"""The chart's backup and restore scripts, on real servers: what was stored comes back."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from redis import Redis

from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.processes.ports import free_port
from tests.conftest import Opened
from tests.deploy.tools import CHART
from tests.faults.processes import RedisProcess
from tests.jobs.examples import MODEL, spec
from tests.needs import path_of

pytestmark = [pytest.mark.timeout(900), pytest.mark.needs("redis-cli")]
FILES = CHART / "files"
MIB = 1 << 20
DISK_BYTES = 4 * MIB


def script(name: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one of the chart's scripts."""
    env: Mapping[str, str] = os.environ | variables
    command = ["sh", str(FILES / name), *map(str, words)]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def tried(url: str, folder: Path, keep: int = 2) -> subprocess.CompletedProcess[str]:
    """Run the script that takes a snapshot."""
    variables = {"SFUMATO_REDIS_URL": url, "BACKUP_DIR": str(folder), "KEEP": str(keep)}
    return script("backup.sh", CLI=path_of("redis-cli"), **variables)


def backup(redis: RedisProcess, folder: Path, keep: int = 2) -> Path:
    """Take a snapshot; return its path."""
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    outcome = tried(redis.url, folder, keep)
    assert outcome.returncode == 0, outcome.stderr
    (made,) = set(folder.iterdir()) - before
    return made


def older(folder: Path, count: int, size_bytes: int) -> list[str]:
    """Put backups of former days into a folder; return their names, the oldest first."""
    names = [f"sfumato-2026010{i}T000000Z.rdb" for i in range(1, count + 1)]
    for name in names:
        (folder / name).write_bytes(b"REDIS" + bytes(size_bytes - 5))
    return names


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 4 MiB; return its folder."""
    folder = tmp_path / "claim"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a disk here; root may")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def restore(snapshot: Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Make a snapshot what a server starts from."""
    data.mkdir(exist_ok=True)
    servers = {"SERVER": path_of("redis-server"), "CLI": path_of("redis-cli")}
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
async def on(redis: RedisProcess) -> AsyncIterator[tuple[RedisStore, Doorbell]]:
    """Open store and doorbell on a server."""
    settings = JobsSettings(redis_url=redis.url)
    store, bell = RedisStore(settings), Doorbell(settings)
    try:
        yield store, bell
    finally:
        await store.close()
        bell.close()


@pytest.mark.needs("redis-server")
async def test_jobs_and_rings_come_back_from_a_backup(tmp_path: Path) -> None:
    data = tmp_path / "new"
    with started(tmp_path / "lost") as redis:
        async with on(redis) as (store, bell):
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
        async with on(again) as (store, bell):
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


@pytest.mark.needs("redis-server")
async def test_keys_revoked_since_a_backup_are_back_and_the_lists_of_keys_show_it(
    tmp_path: Path, opened: Opened[KeyStore]
) -> None:
    with started(tmp_path / "old") as redis:
        keys = opened(KeyStore(JobsSettings(redis_url=redis.url)))
        same, revoked, rotated = [
            (await keys.create(tenant, frozenset({Scope.JOBS})))[0].id for tenant in "abc"
        ]
        snapshot = backup(redis, tmp_path / "backups")
        await keys.revoke(revoked)
        await keys.rotate(rotated, 0.0)
        made = (await keys.create("d", frozenset({Scope.JOBS})))[0].id
        before = {key.id: key.previous_until for key in await keys.all()}
    assert restore(snapshot, tmp_path / "new").returncode == 0
    with started(tmp_path / "new") as redis:
        keys = opened(KeyStore(JobsSettings(redis_url=redis.url)))
        after = {key.id: key.previous_until for key in await keys.all()}
    assert set(after) - set(before) == {revoked}, "docs/kubernetes.md: revoke it again"
    assert set(before) - set(after) == {made}
    assert {id for id in (same, rotated) if after[id] != before[id]} == {rotated}


@pytest.mark.needs("redis-server")
def test_files_already_on_the_disk_are_moved_aside(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data) as redis, Redis.from_url(redis.url) as client:
        client.set("old", "1")
        snapshot = backup(redis, tmp_path / "backups")
        client.set("newer", "1")
    assert restore(snapshot, data).returncode == 0
    assert list(data.glob("before-*/appendonlydir/*"))
    with started(data) as redis, Redis.from_url(redis.url) as client:
        assert client.exists("old", "newer") == 1


@pytest.mark.needs("redis-server")
def test_a_damaged_snapshot_leaves_the_disk_alone(tmp_path: Path) -> None:
    data, snapshot = tmp_path / "data", tmp_path / "sfumato-x.rdb"
    (data / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir" / "kept").touch()
    snapshot.write_bytes(b"REDIS0011" + b"\xee" * 50)
    outcome = restore(snapshot, data)
    assert outcome.returncode != 0
    assert "cannot be loaded" in outcome.stderr
    assert (data / "appendonlydir" / "kept").exists()


@pytest.mark.parametrize(("keep", "kept"), [(3, 2), (1, 0)])
def test_only_the_newest_backups_are_kept(tmp_path: Path, keep: int, kept: int) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    names = older(folder, 4, 100)
    with started(tmp_path / "data") as redis:
        made = backup(redis, folder, keep)
    assert names_in(folder) == [*names[4 - kept :], made.name]


def test_a_backup_of_a_server_that_is_away_keeps_the_others(tmp_path: Path) -> None:
    names = older(tmp_path, 2, 100)
    for _ in range(3):
        outcome = tried(f"redis://127.0.0.1:{free_port()}/0", tmp_path)
        assert outcome.returncode != 0
        assert names_in(tmp_path) == names[1:], "room for the next one is made once"


@pytest.mark.needs("mount")
def test_a_full_disk_loses_its_oldest_backups_first(tmp_path: Path, small_disk: Path) -> None:
    names = older(small_disk, 3, MIB)
    (small_disk / "sfumato-20260104T000000Z.rdb.part").write_bytes(bytes(MIB // 2))
    with started(tmp_path / "data") as redis, Redis.from_url(redis.url) as client:
        client.set("images", os.urandom(2 * MIB))
        outcome = tried(redis.url, small_disk, keep=10)
        assert outcome.returncode == 0, outcome.stderr
        assert "is full" in outcome.stdout
    *left, made = names_in(small_disk)
    assert left == names[2:], "as many as there is room for, and no part of a killed run"
    assert f"wrote {small_disk / made}" in outcome.stdout


@pytest.mark.needs("mount")
def test_the_last_good_backup_stays_where_the_next_has_no_room(
    tmp_path: Path, small_disk: Path
) -> None:
    names = older(small_disk, 2, MIB)
    with started(tmp_path / "data") as redis, Redis.from_url(redis.url) as client:
        client.set("images", os.urandom(DISK_BYTES - MIB // 2))
        beside = tried(redis.url, small_disk, keep=10)
        assert beside.returncode != 0
        assert f"{names[1]} of {MIB} bytes, which is kept: make it larger" in beside.stderr
        assert names_in(small_disk) == names[1:]
        (small_disk / names[1]).unlink()
        client.set("more", os.urandom(MIB))
        alone = tried(redis.url, small_disk, keep=10)
    assert alone.returncode != 0
    assert "no room for one snapshot" in alone.stderr
    assert names_in(small_disk) == []
