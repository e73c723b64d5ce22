"""``sfumato up``: ready when it says so, gone when it ends, whatever ends it."""

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from service.cli.shared.exit_codes import ExitCode
from service.client.client import Sfumato
from service.client.errors import ServiceUnavailable
from tests.processes import PATIENCE_S, wait
from tests.service.served import ipv6_hosts
from tests.stack.up import Up, only_worker, sfumato

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Start = Callable[..., Up]
BUSY_S = 30.0  # for a stop, on a machine that does much else
IMAGES = 8  # one by itself is drawn on a fast machine before it is asked to stop


def pids(client: Sfumato) -> set[int]:
    return {worker.pid for worker in client.workers()}


def submit_patiently(client: Sfumato, prompt: str, **fields: Any) -> str:
    """Submit a job as a client does that knows 503: again, with the same key."""
    key, deadline = uuid.uuid4().hex, monotonic() + PATIENCE_S
    while True:
        try:
            return client.submit(prompt, key=key, **fields).id
        except ServiceUnavailable:
            assert monotonic() < deadline
            sleep(0.2)


@pytest.fixture
def up(tiny: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[Up] = []

    def begin(name: str, *options: str, model: Path = tiny, **env: object) -> Up:
        started.append(Up(tmp_path / name, model, *options, **env))
        return started[-1]

    yield begin
    for stack in started:
        stack.end()


@pytest.mark.full
@pytest.mark.alone  # a Ray cluster, while another test starts one
def test_serve_stack_draws_restarts_drains_and_takes_jobs_up_again(up: Start) -> None:
    stack = up("data", *(word for host in ipv6_hosts() for word in ("--host", host)))
    with Sfumato(stack.ready()) as client:
        job = client.wait(client.submit("a red apple", seed=3).id)
        assert job.status == "succeeded"
        expected = client.image(job.id)
        worker = only_worker(client)
        os.kill(worker.pid, signal.SIGKILL)
        again = client.wait(client.submit("a red apple", seed=3).id)
        assert again.status == "succeeded"
        assert client.image(again.id) == expected
        wait("the dead worker to be forgotten", lambda: worker.pid not in pids(client))
        os.kill(stack.pid_of("appendonly"), signal.SIGKILL)
        after = client.wait(submit_patiently(client, "a red apple", seed=3))
        assert client.image(after.id) == client.image(job.id) == expected
        long = client.submit(
            "a red apple", num_inference_steps=1000, sampler="heun", num_images=IMAGES
        )
        while client.get(long.id).progress.step == 0:
            sleep(0.05)
    began = monotonic()
    assert stack.stop() == 0
    assert (took_s := monotonic() - began) < 20 + BUSY_S, took_s
    assert stack.gone(0) == {}
    second = up("data", "--door", "uvicorn")
    with Sfumato(second.ready()) as client:
        done = client.wait(long.id)
        assert (done.status, done.attempts) == ("succeeded", 2)
        assert done.timings.evaluations == IMAGES * 2 * 1999
    assert second.stop(signal.SIGINT) == 0
    assert second.gone(0) == {}


@pytest.mark.full
def test_nothing_is_left_when_the_supervisor_is_killed(
    up: Start, tiny: Path, tmp_path: Path
) -> None:
    """Its model is one that is named by `--model` and not by the environment."""
    shutil.copytree(tiny, tmp_path / "models" / "mine")
    (tmp_path / "models" / "mine" / "added.json").write_text("{}")
    stack = up("data", "--model", "mine", models=tmp_path / "models", model=tmp_path / "none")
    with Sfumato(stack.ready()) as client:
        assert [model.name for model in client.models().models] == ["tiny"]
    assert stack.processes()
    stack.process.kill()
    assert stack.gone() == {}


def test_a_part_that_dies_while_starting_ends_the_stack_with_its_reason(
    up: Start, tmp_path: Path
) -> None:
    stack = up("data", "--door", "uvicorn", model=tmp_path / "nowhere")
    assert stack.process.wait(PATIENCE_S) == 1
    assert "nowhere" in stack.log.read_text()
    assert stack.gone(0) == {}


@pytest.mark.full
def test_two_stacks_run_side_by_side(up: Start) -> None:
    stacks = [up(name, "--workers", "0") for name in ("one", "two")]
    urls = [stack.ready() for stack in stacks]
    assert len(set(urls)) == 2
    for stack in stacks:
        assert stack.stop() == 0
        assert stack.gone(0) == {}


def test_a_data_folder_in_use_is_refused(up: Start) -> None:
    first = up("data", "--door", "uvicorn", "--workers", "0")
    first.ready()
    second = up("data", "--door", "uvicorn", "--workers", "0")
    assert second.process.wait(PATIENCE_S) == 1
    assert "another stack uses" in second.log.read_text()
    assert first.process.poll() is None


def test_draw_without_a_server_says_how_to_start_one() -> None:
    outcome = sfumato("draw", "x", "--url", "http://127.0.0.1:9")
    assert outcome.returncode == ExitCode.UNREACHABLE
    assert "sfumato up" in outcome.stderr
