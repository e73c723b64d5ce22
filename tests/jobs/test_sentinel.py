"""Redis behind a sentinel: the URL, and a replica that takes over."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import NamedTuple

import pytest
from redis import Redis
from redis.exceptions import RedisError

from jobs.catalogue import resolve, units
from jobs.errors import StartError, StoreUnavailable
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.redis_url import sentinel_url
from jobs.schema import JobRequest, JobStatus
from jobs.settings import JobsSettings, read_environment
from service.processes.ports import free_port
from service.processes.redis_server import server_binary
from tests.bundles import tiny_bundle
from tests.faults.client import until
from tests.faults.processes import RedisProcess, Worker


class Watched(NamedTuple):
    """A master, its replica and the sentinel that watches them."""

    master: RedisProcess
    replica: RedisProcess
    settings: JobsSettings


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    master = RedisProcess(tmp_path / "master", free_port())
    master.start()
    replicaof = ("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
    replica = RedisProcess(tmp_path / "replica", free_port(), *replicaof)
    replica.start()
    wait_linked(replica)  # a sentinel asks who the replicas are at once, and then every ten seconds
    port, folder = free_port(), tmp_path / "sentinel"
    folder.mkdir()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor house 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds house 1500\n"
        "sentinel failover-timeout house 3000\n"
    )
    with (folder / "log").open("ab") as log:
        command = [server_binary(), str(config), "--sentinel"]
        sentinel = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"sentinel://127.0.0.1:{port}/house/0"
    yield Watched(master, replica, JobsSettings(redis_url=url))
    sentinel.kill()
    sentinel.wait()
    for server in (master, replica):
        server.kill()


def wait_linked(replica: RedisProcess) -> None:
    """Wait until the replica has all that the master has."""
    with Redis(port=replica.port) as client:
        for _ in range(1200):
            if client.info("replication")["master_link_status"] == "up":
                return
            sleep(0.05)
    raise AssertionError("the replica was not linked within 60 s")


async def knows_the_replica(watched: Watched) -> None:
    """Wait until the sentinel could let the replica take over."""
    said = sentinel_url(watched.settings.redis_url)
    assert said is not None

    async def look() -> bool:
        try:
            with Redis(port=said.hosts[0][1], socket_timeout=1) as client:
                return bool(client.sentinel_master(said.master)["num-slaves"] == 1)
        except RedisError:
            return False

    await until("the sentinel to know the replica", look)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.full
async def test_a_job_outlives_its_master(watched: Watched, tmp_path: Path) -> None:
    model = Path(tiny_bundle(tmp_path / "model"))
    await knows_the_replica(watched)
    worker = Worker(watched.settings, model, "worker", tmp_path / "worker.log")
    store, bell = RedisStore(watched.settings), Doorbell(watched.settings)
    try:
        (entry,) = await until("the model", store.models)
        spec = resolve(JobRequest(prompt="a red apple", num_inference_steps=400), entry)
        await store.create("job", spec, units(spec, entry))
        await bell.ring(entry.name, "job")

        async def moving() -> bool:
            return (await store.get("job")).step > 20

        await until("the job under way", moving)
        await asyncio.to_thread(watched.master.kill)

        async def taken_on() -> bool:
            try:
                await store.create("later", spec, units(spec, entry))
                await bell.ring(entry.name, "later")
            except StoreUnavailable:
                return False
            return True

        await until("the replica to take over", taken_on, 120)  # a stall halts a sentinel for 30 s

        async def ended() -> bool:
            try:
                records = [await store.get(name) for name in ("job", "later")]
            except StoreUnavailable:
                return False
            return all(record.status is JobStatus.SUCCEEDED for record in records)

        await until("both jobs to end", ended, 90)
        assert worker.process.poll() is None, "the worker did not live through it"
    finally:
        worker.end()
        await store.close()
        bell.close()


def test_the_url_says_sentinels_master_and_login() -> None:
    said = sentinel_url("sentinels://door:p%40ss@a:1,b,[::1]:3/house/2")
    assert said is not None
    assert said.hosts == (("a", 1), ("b", 26379), ("::1", 3))
    assert (said.master, said.db, said.tls) == ("house", 2, True)
    assert said.login == {"username": "door", "password": "p@ss"}
    assert sentinel_url("redis://a:1/0") is None
    plain = sentinel_url("sentinel://a,b/house")
    assert plain is not None
    assert plain.broker() == "sentinel://a:26379/0;sentinel://b:26379/0"


@pytest.mark.parametrize("url", ["sentinel://a:1", "sentinel:///house/0", "sentinel://a/house/x"])
def test_a_wrong_url_stops_the_start_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_REDIS_URL", url)
    with pytest.raises(StartError, match=r"SFUMATO_REDIS_URL: .*sentinel://host:26379"):
        read_environment(JobsSettings)
