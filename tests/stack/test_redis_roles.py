"""A real Redis with TLS only and a user for each role, which may do its work and nothing else."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import pytest
import trustme
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from jobs.errors import StoreUnavailable
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.api.tenant_purge import purge_tenant
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.processes.ports import free_port
from service.processes.redis_server import redis_command
from service.settings import ServiceSettings
from tests.conftest import Opened
from tests.deploy.tools import CHART
from tests.faults.children import slow
from tests.faults.processes import Worker
from tests.needs import path_of
from tests.processes import PATIENCE_S, process, wait
from tests.service.keyed import SECRET
from tests.service.served import served
from tests.service.webhooks.receiver import receiver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.needs("redis-server"),  # the wheel's Valkey has no TLS
]
EXAMPLE = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl.example"
LEASE_S = 60.0  # which no busy machine lets pass
ROLES = ("door", "worker", "operator", "metrics", "backup")


@dataclass(frozen=True)
class Guarded:
    """A server with TLS and users."""

    port: int
    authority: Path

    def url(self, role: str) -> str:
        return f"rediss://{role}:change-{role}@127.0.0.1:{self.port}/0"

    def client(self, role: str) -> Any:
        return Redis.from_url(self.url(role), ssl_ca_certs=str(self.authority))

    def answers(self) -> bool:
        with self.client("admin") as admin:
            try:
                return bool(admin.ping())
            except (RedisError, OSError):
                return False

    def settings(self, role: str) -> JobsSettings:
        return JobsSettings(redis_url=self.url(role), redis_ca_file=self.authority, lease_s=LEASE_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("redis-roles")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = authority.issue_cert("127.0.0.1", "localhost")
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    port = free_port()
    command = [path_of("redis-server"), *redis_command(folder, 0)[1:]]
    for name, value in {
        "tls-port": port, "tls-cert-file": folder / "cert.pem", "tls-key-file": folder / "key.pem",
        "tls-ca-cert-file": folder / "ca.pem", "tls-auth-clients": "no", "aclfile": EXAMPLE,
    }.items():  # fmt: skip
        command += [f"--{name}", str(value)]
    with process(command, folder / "log"):
        found = Guarded(port, folder / "ca.pem")
        wait("the server", found.answers)
        yield found


@pytest.fixture
def worker(server: Guarded, tiny: Path, tmp_path: Path) -> Iterator[Worker]:
    started = Worker(
        server.settings("worker"), tiny, "w", tmp_path / "worker.log",
        redis_ca_file=server.authority, **slow(pass_s=0.05),
    )  # fmt: skip
    yield started
    started.end()
    print(started.log.read_text()[-3000:])


@pytest.fixture
async def key(server: Guarded, opened: Opened[KeyStore]) -> str:
    keys = opened(KeyStore(server.settings("operator")))
    _, text = await keys.create("a", frozenset({Scope.JOBS, Scope.METRICS}))
    return text


def until_ended(http: httpx.Client, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = {}

    def over() -> bool:
        job.update(http.get(f"/v1/jobs/{job_id}").json())
        return bool(job["finished_at"]) and job["webhook"]["state"] not in ("waiting", "pending")

    wait("the job and its webhook", over)
    return job


async def test_each_role_does_its_work_and_is_never_refused(
    server: Guarded, worker: Worker, key: str
) -> None:
    fields = server.settings("door").model_dump() | {
        "auth": "keys", "url_secrets": SECRET, "rate_limit": 10_000,
        "webhook_allow_http": True, "webhook_networks": "127.0.0.0/8", "webhook_poll_s": 0.05,
    }  # fmt: skip
    settings = ServiceSettings.model_validate(fields)

    def flow() -> None:
        with (
            receiver() as hooks,
            served(settings) as (url, _),
            httpx.Client(
                base_url=url,
                headers={"authorization": f"Bearer {key}"},
                trust_env=False,
                timeout=PATIENCE_S,
            ) as http,
        ):
            wait("a worker", lambda: http.get("/readyz").json()["workers"])
            body = {"prompt": "a", "webhook": {"url": hooks.url()}, "num_inference_steps": 20}
            headers = {"idempotency-key": "k"}
            drawn = http.post("/v1/jobs", json=body, headers=headers).json()["id"]
            done = until_ended(http, drawn)
            assert (done["status"], done["webhook"]["state"]) == ("succeeded", "delivered")
            assert http.get(done["images"][0]["url"]).content[:4] == b"\x89PNG"
            assert b"event: result" in http.get(done["events_url"]).content
            long = http.post("/v1/jobs", json=body | {"num_inference_steps": 1000}).json()["id"]
            while http.get(f"/v1/jobs/{long}").json()["status"] == "queued":
                sleep(0.02)
            assert http.post(f"/v1/jobs/{long}/cancel").json()["status"] == "canceled"
            late = {"prompt": "a", "deadline_s": 0.01, "webhook": {"url": hooks.url()}}
            http.post("/v1/jobs", json=late)
            assert http.get("/metrics").status_code == 200
            wait("the worker", lambda: [w["id"] for w in http.get("/v1/workers").json()] == ["w"])
            assert http.get("/v1/webhooks/secret").status_code == 200
            assert http.delete(f"/v1/jobs/{long}").status_code == 204
            assert len(http.get("/v1/jobs").json()["jobs"]) >= 1

    try:
        await asyncio.to_thread(flow)
    except Exception as error:
        raise AssertionError(refusals(server)) from error
    assert worker.stop() == 0  # drains, and retires by its own user's rights
    await purge_tenant(server.settings("operator"), "a", lambda _line: None)
    with server.client("metrics") as metrics:
        assert metrics.info("memory")["used_memory"] > 0
    assert refusals(server) == []


def refusals(server: Guarded) -> list[tuple[str, str, str]]:
    """Return what the server has refused so far."""
    with server.client("admin") as admin:
        return [(each["username"], each["reason"], each["object"]) for each in admin.acl_log()]


COMMANDS: list[list[str]] = [
    ["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["CONFIG", "SET", "dir", "/tmp"],
    ["KEYS", "*"], ["SCAN", "0"], ["RANDOMKEY"], ["DEBUG", "SLEEP", "0"], ["SHUTDOWN"], ["SAVE"],
    ["BGSAVE"], ["BGREWRITEAOF"], ["REPLICAOF", "NO", "ONE"], ["MONITOR"], ["ACL", "LIST"],
    ["ACL", "SETUSER", "x"], ["CLIENT", "KILL", "ID", "1"], ["CLIENT", "LIST"],
    ["SCRIPT", "FLUSH"], ["FUNCTION", "LIST"], ["MODULE", "LIST"], ["SWAPDB", "0", "1"],
    ["MIGRATE", "127.0.0.1", "1", "k", "0", "1"], ["GET", "somebody:elses"],
    ["SET", "somebody:elses", "1"], ["PUBLISH", "somebody:elses", "1"],
    ["EVAL", "return redis.call('GET', 'somebody:elses')", "0"],
]  # fmt: skip
DOORS_OWN = [["HGETALL", "{sfumato}.door:key:000000000000"], ["HGETALL", "{sfumato}.door:keys"]]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_else(server: Guarded, role: str) -> None:
    commands = COMMANDS + (DOORS_OWN if role in ("worker", "metrics", "backup") else [])
    with server.client(role) as client:
        assert client.ping()
        for command in commands:
            with pytest.raises(
                (NoPermissionError, RedisError), match=r"(?i)perm|not allowed|can't access"
            ):
                client.execute_command(*command)


@pytest.mark.needs("redis-cli")
def test_a_backup_needs_no_more_than_its_own_user(server: Guarded, tmp_path: Path) -> None:
    variables = {
        "CLI": path_of("redis-cli"), "SFUMATO_REDIS_URL": server.url("backup"), "KEEP": "1",
        "SFUMATO_REDIS_CA_FILE": str(server.authority), "BACKUP_DIR": str(tmp_path),
    }  # fmt: skip
    command = ["sh", str(CHART / "files" / "backup.sh")]
    with server.client("admin") as admin:
        admin.config_set("repl-diskless-sync-delay", 0)
        admin.set("{sfumato}:there", "1")
        before = len(refusals(server))
        outcome = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stderr
        assert len(refusals(server)) == before
    (made,) = tmp_path.iterdir()
    assert b"{sfumato}:there" in made.read_bytes()
    with server.client("backup") as client, pytest.raises(NoPermissionError):
        client.info()


def test_strangers_and_plain_text_are_refused(server: Guarded) -> None:
    for url in (
        f"rediss://127.0.0.1:{server.port}/0",
        f"rediss://door:wrong@127.0.0.1:{server.port}/0",
        f"redis://door:change-door@127.0.0.1:{server.port}/0",
    ):
        options = {"ssl_ca_certs": str(server.authority)} if url.startswith("rediss") else {}
        with (
            Redis.from_url(url, socket_timeout=2, **options) as client,
            pytest.raises((RedisError, OSError)),
        ):
            client.get("{sfumato}:jobs")


async def test_a_server_whose_certificate_no_authority_signed_is_refused(
    server: Guarded, tmp_path: Path, opened: Opened[RedisStore]
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    for authority in (other, None):
        settings = server.settings("door").model_copy(update={"redis_ca_file": authority})
        store = opened(RedisStore(settings))
        with pytest.raises(StoreUnavailable):
            await store.ping()


def test_the_example_has_only_passwords_to_be_changed() -> None:
    for line in EXAMPLE.read_text().splitlines():
        name = line.split()[1]
        assert name == "default" or f">change-{name}" in line
