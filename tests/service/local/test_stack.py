"""What `sfumato up` says while it waits, and what it keeps of the machine's environment."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from jobs.settings import JobsSettings
from service.local import stack as stacks
from service.local.stack import Stack, StackOptions, not_ready, threads, wait_until_ready
from service.processes.no_proxy import without_proxy
from service.processes.ports import free_port
from service.processes.supervisor import Supervisor
from service.settings import ServiceSettings
from tests.service.served import served


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def stack(said: list[str]) -> Stack:
    return Stack(f"http://127.0.0.1:{free_port()}", Supervisor(said.append))


@pytest.fixture
def served_stack(jobs_settings: JobsSettings, said: list[str]) -> Iterator[Stack]:
    with served(ServiceSettings(**jobs_settings.model_dump())) as (url, _):
        yield Stack(url, Supervisor(said.append))


def test_what_is_not_ready_is_said_while_waiting_and_at_the_end(
    stack: Stack, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "START_LIMIT_S", 2.0)
    monkeypatch.setattr(stacks, "TELL_EVERY_S", 0.1)
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(stacks, "time", clock)
    with pytest.raises(TimeoutError, match=f"the door at {stack.url} is not ready"):
        wait_until_ready(stack, StackOptions(tmp_path), since=0.0)
    assert 2 <= len(said) <= 21
    assert "the door at" in said[0]
    assert "door.log" in said[0]


def test_missing_workers_and_models_are_counted(served_stack: Stack, tmp_path: Path) -> None:
    assert not_ready(served_stack, StackOptions(tmp_path, workers=0), 0.0) is None
    reason = not_ready(served_stack, StackOptions(tmp_path, workers=2), 0.0)
    assert "0 of 2 workers" in str(reason)
    reason = not_ready(served_stack, StackOptions(tmp_path, autoscale=2), 0.0)
    assert "0 of 1 models" in str(reason)


def test_threads_leave_a_cpu_to_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "usable_cpus", lambda: 9)
    assert [threads(workers) for workers in (0, 1, 2, 8, 100)] == [8, 8, 4, 1, 1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "a.example"}, "a.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "b", "NO_PROXY": "a"}, "b,localhost,127.0.0.1,::1"),
    ],
)
def test_processes_of_the_stack_reach_each_other_without_a_proxy(
    given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_proxy(given)
    assert made == {"no_proxy": expected, "NO_PROXY": expected}
    for name, value in (made | {"http_proxy": "http://127.0.0.1:1"}).items():
        monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "[::1]", "localhost"):
        url = httpx.URL(f"http://{host}:8000")
        with httpx.Client() as client:
            assert client._transport_for_url(url) is client._transport
