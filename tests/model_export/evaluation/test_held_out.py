"""Held-out prompts are held out, measured, recorded and reported."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from diffusion.bundle.bundle import load_bundle
from diffusion.files import read_json
from model_export import cli
from model_export.bundle import EVALUATION
from model_export.data.captions import TEMPLATES
from model_export.data.hues import dominant_colour
from model_export.data.labels import Emoji
from model_export.errors import ExportError
from model_export.evaluation.card import write_card
from model_export.evaluation.gallery import Gallery, load_gallery, make_gallery, save_gallery
from model_export.evaluation.held_out import (
    COLOURED,
    PROMPTS,
    HeldOut,
    colour_asked,
    coloured,
    drawings_of,
    measure_held_out,
    read_held_out,
    record_held_out,
    silhouettes,
)
from model_export.evaluation.measures import Images
from tests.model_export.examples import toy_dataset
from tests.model_export.test_bundle import GALLERY, QUICK, measured

KINDS: dict[str, dict[str, str]] = json.loads(PROMPTS.read_text("utf-8"))


@pytest.fixture
def evaluated(bundle: Path) -> Path:
    """Return a bundle with figures of its training prompts."""
    measured(bundle)
    return bundle


def toy_prompts(folder: Path) -> Path:
    path = folder / "prompts.json"
    kinds = {
        "described en": {"it swims": "whale", "it roars": "tiger", "it soars": "kite"},
        COLOURED: {"a blue apple": "apple"},
    }
    path.write_text(json.dumps(kinds), "utf-8")
    return path


def shipped_emoji() -> list[Emoji]:
    return [example for example in load_gallery().examples if isinstance(example, Emoji)]


def exact_prompts(emoji: Emoji) -> set[str]:
    """Return an emoji's labels, in templates too, and its tags."""
    labels = [form.format(label) for label in emoji.labels.values() for form in ("{}", *TEMPLATES)]
    return {text.lower() for text in (*labels, *emoji.tags["en"], *emoji.tags["zh"])}


def words_of(emoji: Emoji) -> set[str]:
    """Return the words that a choice of an emoji's English tags may be made of."""
    return {w for text in (emoji.labels["en"], *emoji.tags["en"]) for w in text.lower().split()}


@pytest.mark.parametrize(
    ("kind", "least"),
    [("described en", 60), ("described zh", 40), ("reworded en", 25), (COLOURED, 40)],
)
def test_there_are_enough_prompts(kind: str, least: int) -> None:
    (held,) = [held for held in read_held_out(load_gallery()) if held.kind == kind]
    assert len(held.prompts) >= least
    assert len(held.prompts) + held.untrained == len(KINDS[kind])


def test_no_prompt_was_trained_under() -> None:
    emoji = shipped_emoji()
    exact = {text for one in emoji for text in exact_prompts(one)}
    choices = [words_of(one) for one in emoji]
    for prompts in KINDS.values():
        for prompt in prompts:
            assert prompt.lower() not in exact
            assert not any(set(prompt.lower().split()) <= words for words in choices), prompt


def test_described_prompts_do_without_the_name() -> None:
    emoji = {e.labels["en"]: e for e in shipped_emoji()}
    for language in ("en", "zh"):
        for prompt, label in KINDS[f"described {language}"].items():
            if label in emoji:
                assert emoji[label].labels[language].lower() not in prompt, prompt


def test_coloured_things_do_not_have_that_colour_already() -> None:
    gallery = load_gallery()
    (held,) = [held for held in read_held_out(gallery) if held.kind == COLOURED]
    for prompt, place in zip(held.prompts, held.places, strict=True):
        assert dominant_colour(gallery.images[place]) not in (None, colour_asked(prompt)), prompt


def test_prompts_about_untrained_emoji_are_left_out_and_counted(tmp_path: Path) -> None:
    described, tinted = read_held_out(GALLERY, toy_prompts(tmp_path))
    assert described == HeldOut("described en", ("it swims", "it roars"), (3, 2), 1)
    assert (drawings_of(described), drawings_of(tinted)) == (2, 2)
    with pytest.raises(ExportError, match="described en"):
        read_held_out(make_gallery(toy_dataset(), 1), toy_prompts(tmp_path))


def test_a_prompt_asks_for_one_colour() -> None:
    assert colour_asked("a blue apple") == "blue"
    for prompt in ("an apple", "a red or blue apple"):
        with pytest.raises(ExportError, match=prompt):
            colour_asked(prompt)


def test_colour_and_shape_are_counted_apart() -> None:
    apple, blue = GALLERY.images[4:5], GALLERY.images[3:4].copy()
    blue_apple = np.where(apple < 255, np.array([30, 80, 220], np.uint8), np.uint8(255))
    place = np.array([4])
    right = coloured(blue_apple, apple, ["blue"], GALLERY, place)
    assert right == {"colour": 1, "shape": 1, "both": 1, "plain_colour": 0, "plain_shape": 1}
    far = np.roll(blue, 16, axis=2)  # no silhouette of the gallery is there
    wide = Gallery(
        GALLERY.examples, GALLERY.thumbnails, GALLERY.trained * 2,
        np.concatenate([GALLERY.images, np.repeat(far, 6, 0)]),
    )  # fmt: skip
    assert coloured(far, apple, ["blue"], wide, place)["both"] == 0


def test_figures_are_kept_and_reported_in_the_card(evaluated: Path, tmp_path: Path) -> None:
    loaded, calls = load_bundle(evaluated), list[int]()
    assert "Beyond" not in write_card(evaluated).read_text("utf-8")
    runs = [
        measure_held_out(loaded, GALLERY, held, QUICK, seeds=2, progress=lambda: calls.append(1))
        for held in read_held_out(GALLERY, toy_prompts(tmp_path))
    ]
    assert len(calls) == 2 * (2 + 2)
    assert set(runs[0].measures) == {"top1", "top5"}
    record_held_out(evaluated, runs)
    record_held_out(evaluated, runs)  # in place of the first
    measured(evaluated, "tags")
    value = read_json(evaluated / EVALUATION)
    assert [len(value["runs"]), len(value["held_out"])] == [2, 2]
    text = write_card(evaluated).read_text("utf-8")
    for part in ("## Beyond the training prompts", "it swims", "2 × 2", "a blue apple"):
        assert part in text, part
    assert f"{runs[0].measures['top5']:.3f}" in text


def test_command_reports_what_it_cannot_measure(evaluated: Path, tmp_path: Path) -> None:
    save_gallery(make_gallery(toy_dataset(), 1), tmp_path)
    result = CliRunner().invoke(cli.app, ["held-out", str(evaluated), "--gallery", str(tmp_path)])
    assert isinstance(result.exception, ExportError)
    (tmp_path / "none").mkdir()
    result = CliRunner().invoke(cli.app, ["held-out", str(tmp_path / "none")])
    assert "evaluate the bundle first" in str(result.exception)


def square(*colours: tuple[int, int, int]) -> Images:
    """Return one image: bands of colours on white, the first twice as high as the others."""
    image = np.full((1, 32, 32, 3), 255, np.uint8)
    image[0, 4:12, 4:28] = colours[0]
    for i, colour in enumerate(colours[1:]):
        image[0, 12 + 4 * i : 16 + 4 * i, 4:28] = colour
    return image


def test_silhouette_does_not_depend_on_colour() -> None:
    shapes = silhouettes(square((220, 20, 30)))
    assert np.array_equal(shapes, silhouettes(square((250, 220, 40))))
    assert np.array_equal(shapes, silhouettes(square((10, 10, 10))))
    assert set(np.unique(shapes)) == {0, 255}
    assert np.array_equal(silhouettes(np.full((1, 32, 32, 3), 240, np.uint8)).min(), 255)
