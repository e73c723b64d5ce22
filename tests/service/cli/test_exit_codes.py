"""What commands exit with, by how they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.redis.store import RedisStore
from service.cli.drawing import draw
from service.cli.grid.cells import Cell, draw_cells
from service.cli.shared.exit_codes import ExitCode, exit_code
from service.cli.shared.terminal import console
from service.client.client import Sfumato
from service.client.errors import (
    ClientError,
    ConnectionFailed,
    InvalidArgument,
    StreamLost,
    UnexpectedResponse,
    problem_error,
)
from service.processes.ports import free_port
from service.settings import ServiceSettings
from tests.service.cli.playing import command, drawing, worker
from tests.service.served import served

ERRORS: list[tuple[ClientError, ExitCode]] = [
    (InvalidArgument(), ExitCode.USAGE),
    (ConnectionFailed(), ExitCode.UNREACHABLE),
    (StreamLost(), ExitCode.UNREACHABLE),
    (UnexpectedResponse(), ExitCode.UNREACHABLE),
    (problem_error(httpx.Response(503)), ExitCode.UNREACHABLE),
    *(
        (problem_error(httpx.Response(code)), ExitCode.REFUSED)
        for code in (401, 404, 409, 422, 429)
    ),
    (ClientError(), ExitCode.FAILED),
]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_errors_of_the_client_have_codes(error: ClientError, code: ExitCode) -> None:
    assert exit_code(error) is code


async def test_a_service_that_is_not_there_is_unreachable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    words = ("bench", url, "--rate", "1", "--jobs", "1", "--json")
    outcome = await command(*words, code=ExitCode.UNREACHABLE)
    assert outcome.stdout == ""
    assert url in outcome.stderr


async def test_a_job_decides_how_its_command_ends(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    act = drawing(store, lambda held: held.record.spec.prompt == "a broken brush")
    with served(settings) as (url, _):
        words = ("--url", url, "--out", str(tmp_path), "--json")
        async with worker(store, act):
            drawn = await command("draw", "a red apple", *words, code=ExitCode.DONE)
            failed = await command("draw", "a broken brush", *words, code=ExitCode.FAILED)
        refused = await command("draw", "a", "--steps", "0", *words, code=ExitCode.REFUSED)
    assert '"succeeded"' in drawn.stdout
    assert "the brush broke" in failed.stdout
    assert refused.stdout == ""
    assert "num_inference_steps" in refused.stderr


@pytest.mark.full
def test_a_ctrl_c_cancels_what_was_asked_for(
    settings: ServiceSettings, announced: None, tmp_path: Path
) -> None:
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "from service.cli.main import main; main()"  # a shell's background job ignores it
    python = [sys.executable, "-W", "ignore", "-c", program]
    root = str(Path(__file__).parents[3])
    with served(settings) as (url, server), Sfumato(url) as client:
        followers = server._app.state.door.followers
        for jobs, words in (
            (1, ["draw", "a"]), (2, ["grid", "a", "--x", "steps=4,8"]),
        ):  # fmt: skip
            with subprocess.Popen(
                [*python, *words, "--url", url, "--out", str(tmp_path)],
                env=os.environ | {"PYTHONPATH": root}, stderr=subprocess.PIPE, text=True,
            ) as process:  # fmt: skip
                try:
                    while len(followers) < jobs:  # by then the ids have reached the command
                        assert process.poll() is None
                        time.sleep(0.02)
                    process.send_signal(signal.SIGINT)
                    _, said = process.communicate(timeout=60)
                finally:
                    process.kill()
            assert process.returncode == ExitCode.INTERRUPTED
            assert said.startswith("sfumato: interrupted; ")
            assert {job.status for job in client.jobs().jobs} == {"canceled"}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have Ctrl-C interrupt this process, which ignores it as a shell's background job."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("of_grid", [False, True])
def test_a_ctrl_c_cancels_a_job_whose_answer_has_not_come(
    settings: ServiceSettings,
    announced: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    of_grid: bool,
) -> None:
    submit, main = Sfumato.submit, threading.main_thread().ident
    assert main is not None

    def submitting(self: Sfumato, **request: Any) -> object:
        job = submit(self, **request)
        signal.pthread_kill(main, signal.SIGINT)
        return job

    monkeypatch.setattr(Sfumato, "submit", submitting)
    with served(settings) as (url, _), Sfumato(url) as client:
        requests, screen = [{"prompt": "a"}, {"prompt": "b"}], console()
        act: Callable[[], object] = partial(draw, client, requests, tmp_path, screen)
        if of_grid:
            cells = [Cell(request["prompt"], "", request) for request in requests]
            act = partial(draw_cells, client, cells, screen)
        with pytest.raises(KeyboardInterrupt):
            act()
        assert [job.status for job in client.jobs().jobs] == ["canceled"]
