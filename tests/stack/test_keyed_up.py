"""``sfumato up`` that requires keys: the owner has one, and no log has a prompt."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.client.client import Client
from service.client.errors import Unauthorized
from service.processes.redis_server import free_port
from tests.stack.up import Up, sfumato

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
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


def test_owner_has_a_key_and_no_log_or_metric_has_a_prompt(
    stack: Up, worker_port: int, tmp_path: Path
) -> None:
    url = stack.ready()
    with Client(url) as client, pytest.raises(Unauthorized):
        client.submit("a")
    file = stack.data / "operator-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text().strip()
    words = ("draw", MARKER, "--negative", MARKER, "--url", url, "--out", str(tmp_path / "out"))
    drawn = sfumato(*words, SFUMATO_API_KEY=key)
    assert drawn.returncode == 0, drawn.stderr + stack.story()
    with Client(url, api_key=key) as client:
        assert MARKER in client.jobs().jobs[0].request.prompt
    # A request that is refused is logged too.
    headers = {"authorization": f"Bearer {key}"}
    body = {"prompt": MARKER, "metadata": {MARKER: 1}, MARKER: MARKER}
    assert httpx.post(f"{url}/v1/jobs", json=body, headers=headers).status_code == 422
    figures = httpx.get(f"{url}/metrics", headers=headers).text
    assert "sfumato_jobs_accepted_total 1.0" in figures
    figures += httpx.get(f"http://127.0.0.1:{worker_port}/metrics").text
    assert "sfumato_worker_jobs_total" in figures
    assert MARKER not in figures
    assert stack.stop() == 0
    logs = [stack.log, *sorted((stack.data / "logs").glob("*.log"))]
    assert len(logs) == 4
    for log in logs:
        assert MARKER not in log.read_text(), log.name
        assert key not in log.read_text(), log.name
    assert "job claimed" in (stack.data / "logs" / "worker-1.log").read_text()
