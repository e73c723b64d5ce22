"""``--json``: one document on standard output and nothing else; and images in terminals alone."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from jobs.redis.store import RedisStore
from service.cli import drawing
from service.cli.main import app
from service.cli.shared.terminal import shows_images
from service.settings import ServiceSettings
from tests.jobs.examples import worker as worker_entry
from tests.service.cli.playing import alive, command, worker
from tests.service.cli.playing import drawing as drawn
from tests.service.cli.scripted_door import job, scripted
from tests.service.conftest import Command
from tests.service.doors import submit
from tests.service.served import served


async def test_what_a_service_offers_is_listed(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async with alive(store, worker_entry(12.5)):
        with served(settings) as (url, _):
            (model,) = json.loads((await command("models", "--json", "--url", url)).stdout)
            listed = await command("models", "list", "--json", "--url", url)
            (busy,) = json.loads((await command("workers", "--json", "--url", url)).stdout)
            table = (await command("workers", "--url", url)).stdout.splitlines()
    assert [model] == json.loads(listed.stdout)
    assert (model["name"], model["warm"]) == ("toy", True)
    assert (busy["id"], busy["rows_per_s"]) == ("w", 12.5)
    assert table[1].split() == ["w", "toy", "torch", "16", "0", "12.5", "ready"]


async def test_jobs_are_watched_and_ended_in_json(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    with served(settings) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            ids = [await submit(http) for _ in range(3)]
        end = ("--json", "--url", url)
        lines = (await command("jobs", "cancel", *ids[:2], *end)).stdout.splitlines()
        async with worker(store, drawn(store)):
            watched = await command("jobs", "watch", ids[2], *end, "--out", str(tmp_path))
        gone = await command("jobs", "delete", ids[0], *end)
    assert [json.loads(line) for line in lines] == [
        {"id": each, "status": "canceled"} for each in ids[:2]
    ]
    (document,) = json.loads(watched.stdout)
    assert Path(document["files"][0]).exists()
    assert json.loads(gone.stdout) == {"id": ids[0], "status": "deleted"}


async def test_a_request_is_what_the_options_say(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    options = ("--schedule", "karras", "--priority", "low", "--format", "webp")
    with served(settings) as (url, _):
        async with worker(store, drawn(store)):
            end = ("--json", "--url", url, "--out", str(tmp_path))
            outcome = await command("draw", "a", *options, *end)
    request = json.loads(outcome.stdout)["request"]
    assert (request["schedule"], request["priority"], request["output_format"]) == (
        "karras", "low", "webp",
    )  # fmt: skip


def test_operators_get_json(command: Command) -> None:
    made = json.loads(command("keys", "create", "acme", "--json").stdout)
    turned = json.loads(command("keys", "rotate", made["id"], "--json").stdout)
    assert made["key"].startswith("sfu_")
    assert turned["key"] != made["key"]
    assert turned["previous_secret_until"] is not None
    (secret,) = json.loads(command("webhooks", "secret", "acme", "--json").stdout)
    assert command("webhooks", "secret", "acme").stdout == f"{secret}\n"


@pytest.mark.parametrize("group", ["models", "workers"])
@pytest.mark.parametrize("option", [["--json"], ["--url", "http://x"], ["--api-key", "k"]])
def test_an_option_before_a_verb_is_refused(group: str, option: list[str]) -> None:
    outcome = CliRunner().invoke(app, [group, *option, "list"])
    assert outcome.exit_code == 2
    assert f"{option[0]}: put options after 'list'" in outcome.output


@pytest.fixture
def terminal() -> Iterator[io.TextIOWrapper]:
    """Return the program's end of a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb"):
        yield stream


def test_images_are_shown_in_terminals_that_have_colours(terminal: io.TextIOWrapper) -> None:
    colours = {"TERM": "xterm-256color"}
    assert shows_images(Console(file=terminal, _environ=colours))
    assert not shows_images(Console(file=terminal, _environ={"TERM": "dumb"}))
    assert not shows_images(Console(file=terminal, _environ=colours | {"NO_COLOR": "1"}))
    assert not shows_images(Console(file=io.StringIO(), _environ={"FORCE_COLOR": "1"}))


def test_no_image_goes_into_a_pipe(tmp_path: Path) -> None:
    pipe = io.StringIO()
    screen = Console(file=pipe, force_terminal=True)
    with scripted(job()) as client:
        drawing.show(drawing.draw(client, [{"prompt": "x"}], tmp_path, screen), screen)
    assert "saved" in pipe.getvalue()
    assert "▀" not in pipe.getvalue()
