"""A custom data set: the guide's whole way, from captioned images to a model that is served."""

import contextlib
import os
import re
import shlex
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import sleep

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from diffusion.bundle.bundle import load_bundle
from diffusion.files import read_json
from model_export import cli
from model_export.data.captions import draw_caption
from model_export.data.pictures import read_images
from model_export.data.subjects import subjects
from model_export.errors import DataError, GalleryError
from model_export.evaluation.evaluate import prompts_of, read_evaluation
from model_export.evaluation.gallery import make_gallery
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.onnx import export as onnx
from model_export.training.checkpoint import load_checkpoint
from model_export.training.origin import TRAINING
from service.cli import main as service_cli
from tests.model_export.evaluation.drawings import draw_folder
from tests.model_export.examples import toy_dataset

GUIDE = Path(__file__).parents[3] / "docs" / "train-your-own.md"
COMMAND = re.compile(r"^((?:\w+=\S+ )*)\.venv/bin/(?:python -m )?(\S+) ([^#\n]*)", re.MULTILINE)
# The guide trains for half an hour and draws everything four times; a test takes a little of it.
CUT = {
    "train": ("--batch", "1"),
    "evaluate": ("--steps", "2", "--seeds", "1", "--every", "4"),
    "sheet": ("--steps", "2", "--every", "6"),
}


@dataclass(frozen=True)
class Command:
    """A command of the guide."""

    variables: tuple[str, ...]
    program: str
    arguments: tuple[str, ...]


def guide() -> list[Command]:
    """Return the guide's commands in their order."""
    found = COMMAND.findall(GUIDE.read_text("utf-8"))
    return [Command(tuple(v.split()), p, tuple(shlex.split(rest))) for v, p, rest in found]


def follow(command: Command, *more: str) -> str:
    """Run a command of the guide in this process, cut short, and return what it printed."""
    if command.program == "model_export.onnx":
        app = typer.Typer()
        app.command()(onnx.command)
    else:
        app = cli.app
        more = (*CUT.get(command.arguments[0], ()), *more)
    outcome = CliRunner().invoke(app, [*command.arguments, *more], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@contextlib.contextmanager
def interrupted_at(path: Path) -> Iterator[None]:
    """Press Ctrl-C once ``path`` is there."""
    over = threading.Event()

    def watch() -> None:
        while not (found := path.exists()) and not over.is_set():
            sleep(0.01)
        if found:
            os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@dataclass(frozen=True)
class Way:
    """What following the guide left."""

    folder: Path
    printed: dict[str, str]  # by command
    stopped: int  # the step at which Ctrl-C came

    @property
    def model(self) -> Path:
        """The bundle."""
        return self.folder / "my-model"


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Way:
    """Follow the guide, with one Ctrl-C."""
    folder = tmp_path_factory.mktemp("custom")
    draw_folder(folder / "my-pictures")
    printed, stopped = {}, 0
    with contextlib.chdir(folder):
        for command in guide():
            if command.program == "sfumato":
                continue
            if command.arguments[0] == "train":
                with interrupted_at(Path("run/log.jsonl")):
                    printed["stopped"] = follow(command)
                stopped = load_checkpoint(Path("run")).step
                printed["train"] = follow(command, "--steps", str(stopped + 2))
            else:
                printed[command.arguments[0]] = follow(command)
    return Way(folder, printed, stopped)


def test_guide_shows_the_whole_way_in_order() -> None:
    commands = guide()
    assert [command.arguments[0] for command in commands] == [
        "pictures", "train", "bundle", "gallery", "evaluate", "sheet", "card", "my-model",
        "up", "draw",
    ]  # fmt: skip
    programs = [command.program for command in commands]
    assert programs == [*["model_export"] * 7, "model_export.onnx", *["sfumato"] * 2]
    assert [command.variables for command in commands if command.variables] == []


def test_service_takes_the_guides_commands() -> None:
    group = typer.main.get_command(service_cli.app)
    assert isinstance(group, typer.core.TyperGroup)
    for command in guide()[-2:]:
        name, *arguments = command.arguments
        group.commands[name].make_context(name, arguments)  # raises on what it does not know


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.full
def test_run_stops_at_ctrl_c_and_goes_on(way: Way) -> None:
    assert "24 images, 48 captions" in way.printed["pictures"]
    assert "step 50" in way.printed["stopped"]
    assert f"{way.stopped} steps" in way.printed["stopped"]
    assert f"{way.stopped + 2} steps" in way.printed["train"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.full
def test_all_images_are_trained_on_and_drawn(way: Way) -> None:
    assert "24 images, 24 of them trained on" in way.printed["gallery"]
    training = read_json(way.model / TRAINING)
    assert training["settings"]["emoji"] == training["data"]["pictures"] == 24
    (run,) = read_evaluation(way.model)["runs"]
    assert (run["prompts"], run["emoji"]) == ("caption", 6)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.full
def test_model_claims_no_emoji(way: Way) -> None:
    info = load_bundle(way.model).info
    assert (info.name, info.title, info.languages) == ("my-model", "my-model", ())
    assert info.examples[0] == "a black circle"
    assert len(info.examples) == 12
    assert {path.name for path in way.model.glob("*.txt")} == set()
    card = (way.model / "README.md").read_text("utf-8")
    for word in ("Noto", "emojibase", "ofl", "English", "Chinese", "language:", "fixed gallery"):
        assert word not in card, word
    assert "among the 24 of its dataset" in card
    assert "train data --run run1 --emoji 24" in card


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.full
def test_exported_model_draws_an_image(way: Way) -> None:
    settings = SamplingSettings(steps=3)
    ours, theirs = (
        next(iter(draw(load_bundle(way.model, backend=name), ["a red circle"], [7], settings)))
        for name in ("onnx", "torch")
    )
    assert ours.shape == (64, 64, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.full
def test_emoji_gallery_is_not_for_a_custom_data_set(way: Way) -> None:
    for arguments in (["evaluate", "my-model"], ["sheet", "my-model"], ["gallery", "data"]):
        with contextlib.chdir(way.folder):
            outcome = CliRunner().invoke(cli.app, arguments)
        assert outcome.exit_code == 2
        assert "custom data set" in " ".join(outcome.output.replace("│", " ").split())


def test_captions_of_an_image_come_alike(tmp_path: Path) -> None:
    subject = subjects(read_images(draw_folder(tmp_path / "custom")))[0]
    random = Random("custom")
    counts = Counter(draw_caption(subject, 0.2, random).text for _ in range(2000))
    assert counts.keys() == {"", "a black circle", "circle in black"}
    for caption, share in (("", 0.2), ("a black circle", 0.4), ("circle in black", 0.4)):
        assert abs(counts[caption] / 2000 - share) < 0.04, caption


def test_gallery_is_asked_for_by_what_it_has(tmp_path: Path) -> None:
    dataset = read_images(draw_folder(tmp_path / "custom"))
    custom, emoji = make_gallery(dataset, 5), make_gallery(toy_dataset(), 5)
    assert prompts_of(custom) == ["caption"]
    assert prompts_of(emoji) == ["en", "zh", "tags"]
    assert prompts_of(emoji, ["tags", "en"]) == ["tags", "en"]
    for gallery, prompts in ((custom, "en"), (emoji, "caption")):
        with pytest.raises(GalleryError, match=f"no prompts '{prompts}'"):
            prompts_of(gallery, [prompts])


def test_first_images_are_trained_on_where_fewer_are_wanted(tmp_path: Path) -> None:
    dataset = read_images(draw_folder(tmp_path / "custom"))
    assert dataset.trained(2).examples == dataset.examples[:2]
    with pytest.raises(DataError, match="24 images to train on, not 25"):
        dataset.trained(25)
