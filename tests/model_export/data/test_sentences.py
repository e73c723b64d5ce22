"""Sentences are composed in good English and Chinese, and none of them is a held-out prompt."""

import json
import re
from itertools import product
from random import Random

import pytest

from model_export.data import sentences, sentences_zh
from model_export.data.data import ANIMALS, FOOD, SMILEYS
from model_export.data.sentences import article, countable, plural, sentence
from model_export.data.sentences_zh import measure, sentence_zh
from model_export.evaluation import composed
from model_export.evaluation.gallery import load_gallery
from model_export.evaluation.held_out import PROMPTS, trained_emoji

HELD: dict[str, dict[str, str]] = json.loads(PROMPTS.read_text("utf-8"))
FRAMES = {"en": sentences.FRAMES, "zh": sentences_zh.FRAMES}

TALK = {
    "en": (sentences.OPENINGS, sentences.ENDINGS),
    "zh": (sentences_zh.OPENINGS, sentences_zh.ENDINGS),
}


def held_frame(prompt: str, name: str) -> str:
    """Return a prompt with the thing's name replaced."""
    return prompt.replace(name, "{}")


def thing_pattern(language: str) -> str:
    """Return a pattern of all that can stand for "{}" in a frame, around the name."""
    if language == "zh":
        words = {*sentences_zh.ADJECTIVES, *sentences_zh.LIVELY, *sentences_zh.TASTY}
        counts, measures = set(sentences_zh.COUNTS), {"个", "只", *sentences_zh.MEASURES}
        counted = "|".join(c + m for c, m in product(counts, measures))
        return rf"(?:{counted})?(?:{'|'.join(words)})?\{{\}}"
    words = {*sentences.ADJECTIVES, *sentences.LIVELY, *sentences.TASTY}
    first = {"a", "an", "the", "one", "some", "another", *sentences.OWNERS, *sentences.MANY} - {""}
    either = "|".join(map(re.escape, words))
    return rf"(?:(?:{'|'.join(map(re.escape, first))}) )?(?:(?:{either}) )*\{{\}}s?"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_held_out_prompt_can_be_composed(language: str) -> None:
    names = {e.labels["en"]: e.labels[language] for e in trained_emoji(load_gallery())}
    thing = thing_pattern(language)
    opening, ending = (f"(?:{'|'.join(map(re.escape, words))})" for words in TALK[language])
    gap = " " if language == "en" else ""
    talk = rf"(?:{opening}{gap})?{thing}(?:{gap}{ending})?"
    frames = [
        *(re.compile(re.escape(frame).replace(r"\{\}", thing)) for frame in FRAMES[language]),
        re.compile(talk),
    ]
    assert any(frame.fullmatch(FRAMES[language][0]) for frame in frames)
    for prompt, label in HELD[f"reworded {language}"].items():
        if label in names:
            form = held_frame(prompt, names[label])
            assert form.count("{}") == 1, prompt
            assert not [frame.pattern for frame in frames if frame.fullmatch(form)], prompt


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_frames_that_are_measured_are_not_trained(language: str) -> None:
    trained = {re.sub(r"[^\w{}]", "", frame) for frame in FRAMES[language]}
    held = {re.sub(r"[^\w{}]", "", frame) for frame in composed.FRAMES[language]}
    assert len(held) == 5
    assert not trained & held
    assert len(trained) > 60


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [("apple", "an"), ("tiger", "a"), ("unicorn", "a"), ("umbrella", "an"), ("one bear", "a")],
)
def test_articles(phrase: str, expected: str) -> None:
    assert article(phrase) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("tiger", "tigers"), ("cherry", "cherries"), ("monkey", "monkeys"), ("fox", "foxes"),
        ("tomato", "tomatoes"), ("mouse", "mice"), ("tropical fish", "tropical fish"),
        ("maple leaf", "maple leaves"), ("yo-yo", "yo-yos"), ("peach", "peaches"),
    ],
)  # fmt: skip
def test_plurals(noun: str, expected: str) -> None:
    assert plural(noun) == expected


def test_not_every_label_has_a_plural() -> None:
    assert countable("tiger")
    for label in ("grapes", "ear of corn", "two o’clock", "house with garden"):
        assert not countable(label), label


@pytest.mark.parametrize(
    ("noun", "group", "expected"),
    [
        ("老虎", ANIMALS, "只"), ("鱼", ANIMALS, "条"), ("香蕉", FOOD, "根"),
        ("玫瑰", ANIMALS, "朵"),
        ("警车", SMILEYS, "辆"), ("汉堡", FOOD, "个"), ("奶牛", ANIMALS, "头"),
    ],
)  # fmt: skip
def test_measure_words_suit_the_noun(noun: str, group: int, expected: str) -> None:
    assert measure(noun, group) == expected


def test_a_sentence_has_the_colour_before_the_noun() -> None:
    random = Random(0)
    for _ in range(300):
        assert re.search(r"purple tigers?\b", sentence("tiger", (), random, "purple"))
        assert re.search("紫(色的?)?老虎", sentence_zh("老虎", ANIMALS, random, "purple"))


def test_some_words_are_any_that_nobody_has_seen() -> None:
    random = Random(1)
    words = {sentences.unknown_words(random) for _ in range(500)}
    assert len(words) > 450
    assert all(re.fullmatch("[a-z]+( [a-z]+){0,2}", each) for each in words)
    characters = {sentences_zh.unknown_characters(random) for _ in range(500)}
    assert len(characters) > 450
    assert all(re.fullmatch("[\u4e00-\u9fff]{1,5}", each) for each in characters)


def test_equal_generators_compose_equal_sentences() -> None:
    assert sentence("tiger", (), Random(1)) == sentence("tiger", (), Random(1))
    assert sentence_zh("老虎", ANIMALS, Random(1)) == sentence_zh("老虎", ANIMALS, Random(1))
