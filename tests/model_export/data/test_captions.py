"""Captions come in the mix that the card states."""

from collections import Counter
from random import Random

import pytest

from model_export.data.captions import TEMPLATES, draw_caption
from tests.model_export.examples import toy_emoji

TAGGED = toy_emoji(2, tags={"en": ("cat", "stripes"), "zh": ("猛兽", "动物")})


def kind_of(caption: str) -> str:
    if caption == "":
        return "empty"
    if caption in TAGGED.labels.values():
        return "label"
    if caption in [t.format(TAGGED.labels["en"]) for t in TEMPLATES]:
        return "template"
    words = set(caption.split())
    if words <= {"cat", "stripes", "tiger"}:
        return "tags en"
    assert words <= {"猛兽", "动物", "老虎"}, caption
    return "tags zh"


def test_captions_come_in_their_shares() -> None:
    random = Random("mix")
    kinds = Counter(kind_of(draw_caption(TAGGED, 0.2, random)) for _ in range(4000))
    shares = {kind: count / 4000 for kind, count in kinds.items()}
    wanted = {"empty": 0.2, "label": 0.504, "template": 0.08, "tags en": 0.12, "tags zh": 0.096}
    assert shares == pytest.approx(wanted, abs=0.03)


def test_another_mix_can_be_asked_for() -> None:
    emoji, random = toy_emoji(2, tags={"en": ("cat",), "zh": ("猛兽",)}), Random(3)
    drawn = {kind_of(draw_caption(emoji, 0.0, random, (0, 1, 0, 0, 0))) for _ in range(50)}
    assert drawn == {"template"}


def test_prompt_is_never_dropped_at_zero_and_always_at_one() -> None:
    random = Random(0)
    assert all(draw_caption(toy_emoji(), 0.0, random) for _ in range(200))
    assert not any(draw_caption(toy_emoji(), 1.0, random) for _ in range(200))


def test_emoji_without_tags_is_captioned_by_its_label() -> None:
    emoji = toy_emoji(0, tags={"en": (), "zh": ()})
    random = Random(1)
    for _ in range(200):
        caption = draw_caption(emoji, 0.0, random)
        assert "red heart" in caption or "红心" in caption


def test_equal_generators_draw_equal_captions() -> None:
    draws = [[draw_caption(toy_emoji(), 0.1, r) for _ in range(30)] for r in (Random(5), Random(5))]
    assert draws[0] == draws[1]
