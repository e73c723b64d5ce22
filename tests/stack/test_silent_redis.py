"""A Redis that accepts connections and then says nothing: a firewall, a frozen host."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import httpx
import pytest
from typer.testing import CliRunner

from jobs.settings import JobsSettings
from service.cli.main import app
from service.processes.ports import free_port
from tests.faults.processes import Door, Worker
from tests.processes import PATIENCE_S, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BOUND_S = 150.0
"""For 40 s of waiting at most (four tries of 10 s), on a machine that stands still meanwhile."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield where something listens that never answers; it is the Redis of the environment."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("SFUMATO_REDIS_URL", f"redis://:secret@{address}/0")
        yield address


@pytest.fixture
def settings(address: str) -> JobsSettings:
    return JobsSettings(redis_url=f"redis://:secret@{address}/0")


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def started_door(settings: JobsSettings, log: Path, ends: ExitStack) -> Door:
    door = Door(settings, free_port(), log)
    ends.callback(door.kill)
    door.start()
    return door


def refusal(words: list[str], code: int) -> str:
    """Run a command that fails; return its one line."""
    began = monotonic()
    outcome = CliRunner().invoke(app, words)
    assert monotonic() - began < BOUND_S
    assert outcome.exit_code == code, outcome.output
    (line,) = outcome.output.splitlines()
    assert "secret" not in line
    return line


def test_whatever_starts_names_it(
    settings: JobsSettings, address: str, tiny: Path, tmp_path: Path, ends: ExitStack
) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in ("door", "worker")}
    door = started_door(settings, logs["door"], ends)
    worker = Worker(settings, tiny, "worker", logs["worker"])
    ends.callback(worker.end)
    words = ["up", "--port", "0", "--data", str(tmp_path / "data")]
    said = refusal(words, 1)
    assert "the Redis of SFUMATO_REDIS_URL cannot be used: Timeout reading" in said
    said_in(logs["door"], "maxmemory-policy of Redis not read")
    said_in(logs["worker"], f"Cannot connect to redis://:**@{address}/0: Timeout reading")
    assert worker.alive
    wait("the door", lambda: lives(door), BOUND_S)
    assert not any("secret" in log.read_text() for log in logs.values())


def said_in(log: Path, text: str) -> None:
    """Wait until a process has logged this."""
    wait(f"{text!r} in {log.name}", lambda: text in log.read_text(), BOUND_S)


def lives(door: Door) -> bool:
    """Return whether the door answers what needs no Redis."""
    try:
        return httpx.get(f"{door.url}/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.full
def test_commands_and_requests_name_it(
    settings: JobsSettings, address: str, tmp_path: Path, ends: ExitStack
) -> None:
    log = tmp_path / "door.log"
    door = started_door(settings, log, ends)
    assert f"Redis does not answer: Timeout reading from {address}" in refusal(["keys", "list"], 3)
    wait("the door", lambda: lives(door), BOUND_S)
    began = monotonic()
    answer = httpx.get(f"{door.url}/readyz", trust_env=False, timeout=PATIENCE_S)
    assert monotonic() - began < BOUND_S
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert f"Timeout reading from {address}" in log.read_text()
