"""Things have names of their own, and half of their colours are kept out of training."""

import json

import pytest

from model_export.data.data import FOOD, Dataset
from model_export.data.subjects import (
    WITHHELD,
    Subject,
    is_withheld,
    names_of,
    subjects,
    without_colour,
)
from model_export.evaluation.gallery import load_gallery
from model_export.evaluation.held_out import COLOURED, PROMPTS, colour_asked, trained_emoji
from tests.model_export.examples import toy_dataset, toy_emoji


@pytest.fixture(scope="module")
def things() -> tuple[Subject, ...]:
    """Return the subjects of the shipped model."""
    gallery = load_gallery()
    return subjects(Dataset(tuple(trained_emoji(gallery)), gallery.images))


def named(things: tuple[Subject, ...], label: str) -> Subject:
    (found,) = [thing for thing in things if thing.emoji.labels["en"] == label]
    return found


def test_hand_written_pairs_are_never_trained(things: tuple[Subject, ...]) -> None:
    prompts: dict[str, str] = json.loads(PROMPTS.read_text("utf-8"))[COLOURED]
    pairs = {(colour_asked(prompt), label) for prompt, label in prompts.items()}
    assert pairs == {(colour, label) for label, words in WITHHELD.items() for colour in words}
    for colour, label in pairs:
        assert colour not in named(things, label).trained, (colour, label)


def test_half_of_the_pairs_are_withheld(things: tuple[Subject, ...]) -> None:
    trained = sum(len(thing.trained) for thing in things)
    withheld = sum(len(thing.withheld) for thing in things)
    assert trained > 700
    assert 0.4 < withheld / (trained + withheld) < 0.6
    assert not any(set(thing.trained) & set(thing.withheld) for thing in things)
    for thing in things:
        assert all(is_withheld(c, thing.emoji.labels["en"]) for c in thing.withheld)


def test_a_thing_of_its_own_is_no_other_thing_turned(things: tuple[Subject, ...]) -> None:
    apple = named(things, "red apple")
    assert apple.names["en"][0] == "apple"
    assert "green" not in {**apple.trained, **apple.withheld}
    assert named(things, "green apple").names["en"] == ("green apple",)
    for label in ("red heart", "green apple", "red envelope", "grinning face"):
        assert not named(things, label).trained, label


def test_names_are_those_that_mean_one_thing(things: tuple[Subject, ...]) -> None:
    assert "kitty" in named(things, "cat face").names["en"]
    assert named(things, "cat").names["en"][0] == "cat"
    assert named(things, "tiger").names["en"] == ("tiger",)
    assert named(things, "hamburger").names["en"][:2] == ("hamburger", "burger")
    assert "乌龟" in named(things, "turtle").names["zh"]
    tags = [{"en": ("fruit", "sour"), "zh": ("水果", "酸味")}, {"en": ("fruit",), "zh": ("水果",)}]
    pair = [toy_emoji(4 + n, tags=tag, group=FOOD) for n, tag in enumerate(tags)]
    assert [n["en"] for n in names_of(pair)] == [("apple", "sour"), ("banana",)]
    assert [n["zh"] for n in names_of(pair)] == [("苹果", "酸味"), ("香蕉",)]


@pytest.mark.parametrize(
    ("label", "language", "expected"),
    [
        ("red apple", "en", "apple"),
        ("tiger", "en", "tiger"),
        ("orange", "en", "orange"),
        ("红苹果", "zh", "苹果"),
        ("绿色沙拉", "zh", "沙拉"),
        ("黄油", "zh", "黄油"),
    ],
)
def test_labels_lose_the_colour_they_begin_with(label: str, language: str, expected: str) -> None:
    assert without_colour(label, language) == expected


def test_smileys_and_captioned_images_have_no_colours() -> None:
    found = subjects(toy_dataset())
    turned = {s.emoji.labels["en"] for s in found if s.trained or s.withheld}
    assert turned == {"tiger", "whale", "apple", "banana"}
