"""Captions come in the mix that the card states."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from model_export.data.captions import KINDS, MIX, TEMPLATES, Mix, coloured_text, draw_caption
from model_export.data.data import CaptionedImage, Dataset
from model_export.data.subjects import COLOURS_ZH, Subject, subjects
from tests.model_export.examples import toy_dataset, toy_emoji

TAGGED = Subject(
    toy_emoji(2, tags={"en": ("cat", "stripes"), "zh": ("猛兽", "动物")}),
    {"en": ("tiger",), "zh": ("老虎",)},
)
PLAIN: Mix = (0.35, 0.10, 0.15, 0.28, 0.12, 0, 0, 0)


def only(kind: str) -> Mix:
    """Return the mix of one kind alone."""
    shares = [float(name == kind) for name in KINDS]
    return (*shares[:4], *shares[4:])  # type: ignore[return-value]


def whale() -> Subject:
    """Return the toy data set's blue whale, which can be turned."""
    return subjects(toy_dataset())[3]


def kind_of(caption: str) -> str:
    labels = TAGGED.emoji.labels
    if caption == "":
        return "empty"
    if caption in labels.values():
        return "label"
    if caption in [t.format(labels["en"]) for t in TEMPLATES]:
        return "template"
    words = set(caption.split())
    if words <= {"cat", "stripes", "tiger"}:
        return "tags en"
    assert words <= {"猛兽", "动物", "老虎"}, caption
    return "tags zh"


def test_shares_are_a_whole() -> None:
    assert len(MIX) == len(KINDS)
    assert sum(MIX) == pytest.approx(1)


def test_captions_come_in_their_shares() -> None:
    random = Random("mix")
    kinds = Counter(kind_of(draw_caption(TAGGED, 0.2, random, PLAIN).text) for _ in range(4000))
    shares = {kind: count / 4000 for kind, count in kinds.items()}
    wanted = {"empty": 0.2, "label": 0.504, "template": 0.08, "tags en": 0.12, "tags zh": 0.096}
    assert shares == pytest.approx(wanted, abs=0.03)


def test_another_mix_can_be_asked_for() -> None:
    random = Random(3)
    drawn = {kind_of(draw_caption(TAGGED, 0.0, random, only("templates")).text) for _ in range(50)}
    assert drawn == {"template"}


@pytest.mark.parametrize(
    ("kind", "name"), [("English sentences", "tiger"), ("Chinese sentences", "老虎")]
)
def test_sentences_are_many_and_name_the_thing(kind: str, name: str) -> None:
    random = Random(4)
    drawn = [draw_caption(TAGGED, 0.0, random, only(kind)) for _ in range(2000)]
    assert all(name in caption.text and caption.colour is None for caption in drawn)
    assert len({caption.text for caption in drawn}) > 900


def test_a_caption_of_colours_names_the_colour_that_the_image_is_turned_to() -> None:
    random, subject = Random(5), whale()
    drawn = [draw_caption(subject, 0.0, random, only("colours")) for _ in range(300)]
    assert {caption.colour for caption in drawn} == set(subject.trained)
    for caption in drawn:
        assert caption.colour is not None
        assert caption.colour in caption.text or COLOURS_ZH[caption.colour] in caption.text


def test_coloured_prompts_are_in_both_languages_and_of_many_forms() -> None:
    random = Random(6)
    texts = [coloured_text(whale(), "blue", random) for _ in range(1000)]
    english = sum(text.isascii() for text in texts)
    assert 500 < english < 700
    assert {"a blue whale", "blue whale", "蓝色的鲸鱼", "蓝鲸鱼"} <= set(texts)
    assert len(set(texts)) > 300


def test_what_has_no_colours_is_asked_for_by_its_label() -> None:
    random = Random(7)
    drawn = {draw_caption(TAGGED, 0.0, random, only("colours")) for _ in range(100)}
    assert {caption.text for caption in drawn} == set(TAGGED.emoji.labels.values())
    assert {caption.colour for caption in drawn} == {None}


def test_captioned_images_have_their_captions_alone() -> None:
    image = CaptionedImage("cat.png", ("my cat", "a grey cat"))
    (subject,) = subjects(Dataset((image,), toy_dataset().images[:1]))
    drawn = {draw_caption(subject, 0.0, Random(n)).text for n in range(40)}
    assert drawn == set(image.captions)


def test_prompt_is_never_dropped_at_zero_and_always_at_one() -> None:
    random = Random(0)
    assert all(draw_caption(whale(), 0.0, random).text for _ in range(200))
    assert not any(draw_caption(whale(), 1.0, random).text for _ in range(200))


def test_emoji_without_tags_is_captioned_by_its_label() -> None:
    emoji = toy_emoji(0, tags={"en": (), "zh": ()})
    subject = replace(TAGGED, example=emoji, names={"en": ("red heart",), "zh": ("红心",)})
    random = Random(1)
    for _ in range(200):
        caption = draw_caption(subject, 0.0, random, PLAIN).text
        assert "red heart" in caption or "红心" in caption


def test_equal_generators_draw_equal_captions() -> None:
    subject = whale()
    draws = [[draw_caption(subject, 0.1, r) for _ in range(30)] for r in (Random(5), Random(5))]
    assert draws[0] == draws[1]
