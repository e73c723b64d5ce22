"""Composed prompts are in both languages, and about what training left out."""

from pathlib import Path

import numpy as np
import pytest

from diffusion.bundle.bundle import load_bundle
from model_export.data.hues import dominant_colour
from model_export.data.subjects import COLOURS_ZH, is_withheld
from model_export.evaluation.composed import composed
from model_export.evaluation.gallery import load_gallery
from model_export.evaluation.held_out import HeldOut, drawings_of, measure_held_out, trained_emoji
from tests.model_export.test_bundle import GALLERY, QUICK


@pytest.fixture(scope="module")
def kinds() -> dict[str, HeldOut]:
    return {held.kind: held for held in composed(load_gallery())}


def test_there_are_enough_in_both_languages(kinds: dict[str, HeldOut]) -> None:
    assert {kind: len(held.prompts) for kind, held in kinds.items()} == {
        "framed en": 128,
        "framed zh": 128,
        "coloured pairs en": 155,
        "coloured pairs zh": 155,
    }
    for held in kinds.values():
        assert len(held.prompts) == len(held.places) == len(set(held.prompts))


def test_framed_prompts_hold_their_names(kinds: dict[str, HeldOut]) -> None:
    emoji = trained_emoji(load_gallery())
    for language in ("en", "zh"):
        held = kinds[f"framed {language}"]
        named = [
            emoji[place].labels[language] in prompt
            for prompt, place in zip(held.prompts, held.places, strict=True)
        ]
        assert np.mean(named) > 0.95  # "a red apple" is asked for as an apple


def test_pairs_are_those_withheld_and_not_the_thing_s_own_colour(kinds: dict[str, HeldOut]) -> None:
    gallery = load_gallery()
    emoji = trained_emoji(gallery)
    english, chinese = kinds["coloured pairs en"], kinds["coloured pairs zh"]
    assert (english.places, english.colours) == (chinese.places, chinese.colours)
    prompts = zip(english.prompts, chinese.prompts, english.places, english.colours, strict=True)
    for en, zh, place, colour in prompts:
        assert is_withheld(colour, emoji[place].labels["en"])
        assert dominant_colour(gallery.images[place]) != colour
        assert colour in en
        assert zh.startswith(COLOURS_ZH[colour])


def test_they_are_measured_like_those_written_by_hand(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    framed, _, pairs, _ = composed(GALLERY)
    framed_run = measure_held_out(loaded, GALLERY, framed, QUICK, seeds=1, progress=lambda: None)
    assert set(framed_run.measures) == {"top1", "top5"}
    assert drawings_of(pairs) == 2 * len(pairs.prompts)
    run = measure_held_out(loaded, GALLERY, pairs, QUICK, seeds=1, progress=lambda: None)
    assert np.isfinite(run.measures["both"])
