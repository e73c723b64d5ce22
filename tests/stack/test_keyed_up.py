"""``sfumato up`` that requires keys: the owner has one, and no log has a prompt."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from service.client.client import Sfumato
from service.client.errors import Unauthorized
from service.processes.ports import free_port
from tests.processes import PATIENCE_S
from tests.redis_server import redis_server
from tests.stack.up import Up, sfumato

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(900)]
MARKER = "zebra-crossing-4711"


@pytest.fixture
def worker_port() -> int:
    return free_port()


@pytest.fixture
def stack(tiny: Path, tmp_path: Path, worker_port: int) -> Iterator[Up]:
    options = {"auth": "keys", "log_level": "DEBUG", "metrics_port": worker_port}
    started = Up(tmp_path / "data", tiny, "--door", "uvicorn", **options)
    yield started
    started.end()


def closed_to_others(stack: Up) -> str:
    """Check that only its owner reaches the stack's Redis; return the password."""
    files = [stack.data / name for name in ("redis-password", "redis.conf", "redis-url")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((stack.data / "redis").stat().st_mode) == 0o700
    password, url = files[0].read_text().strip(), files[2].read_text().strip()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis.from_url(url) as owner:
        assert owner.ping()
    assert not any(password in command for command in stack.processes().values())
    data = ("--data", str(stack.data))
    commands = (
        ("keys", "list"), ("keys", "create", "shop"), ("tenants", "list"),
        ("webhooks", "secret", "shop"), ("models", "forget", "unknown"),
    )  # fmt: skip
    for words in commands:
        outcome = sfumato(*words, *data)
        said = outcome.stdout + outcome.stderr
        assert outcome.returncode == (1 if "forget" in words else 0), said
        assert password not in said
        assert "forget" not in words or "no model 'unknown'" in said
    return password


def test_a_data_folder_without_a_password_is_taken_up(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with redis_server(data / "redis") as url, Redis.from_url(url) as former:
        former.set("kept", "yes")
    (data / "redis-url").write_text(url)  # of a run that has ended
    stack = Up(data, tiny, "--door", "uvicorn", "--workers", "0")
    try:
        stack.ready()
        with Redis.from_url((data / "redis-url").read_text().strip()) as client:
            assert client.get("kept") == b"yes"
        closed_to_others(stack)
    finally:
        stack.end()


def test_owner_has_a_key_and_no_log_or_metric_has_a_prompt(
    stack: Up, worker_port: int, tmp_path: Path
) -> None:
    url = stack.ready()
    with Sfumato(url) as client, pytest.raises(Unauthorized):
        client.submit("a")
    file = stack.data / "operator-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    words = ("draw", MARKER, "--negative", MARKER, "--url", url, "--out", str(tmp_path / "out"))
    drawn = sfumato(*words, SFUMATO_API_KEY=key)
    assert drawn.returncode == 0, drawn.stderr + stack.story()
    with Sfumato(url, api_key=key) as client:
        assert MARKER in client.jobs().jobs[0].request.prompt
    # A request that is refused is logged too.
    headers = {"authorization": f"Bearer {key}"}
    body = {"prompt": MARKER, "metadata": {MARKER: 1}, MARKER: MARKER}
    with httpx.Client(timeout=PATIENCE_S, trust_env=False) as http:
        assert http.post(f"{url}/v1/jobs", json=body, headers=headers).status_code == 422
        figures = http.get(f"{url}/metrics", headers=headers).text
        assert "sfumato_jobs_accepted_total 1.0" in figures
        figures += http.get(f"http://127.0.0.1:{worker_port}/metrics").text
    assert "sfumato_worker_jobs_total" in figures
    assert MARKER not in figures
    password = closed_to_others(stack)
    assert stack.stop() == 0
    logs = [stack.log, *sorted((stack.data / "logs").glob("*.log"))]
    assert len(logs) == 4
    for log in logs:
        assert MARKER not in log.read_text(), log.name
        assert key not in log.read_text(), log.name
        assert password not in log.read_text(), log.name
    assert "job claimed" in (stack.data / "logs" / "worker-1.log").read_text()
