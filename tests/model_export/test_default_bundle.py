"""The committed model is small, licensed, clean and knows what it shows off."""

from pathlib import Path

import numpy as np
import pytest

import diffusion
from diffusion.bundle import Bundle, load_bundle
from diffusion.bundle_files import check_files
from model_export.evaluate import read_evaluation
from model_export.gallery import load_gallery
from model_export.measures import high_frequency, ranks, speckle
from model_export.sampling import SamplingSettings, draw

FOLDER = Path(diffusion.__file__).parent / "models" / "emoji"
PROMPTS = {
    "red heart": "red heart",
    "pizza": "pizza",
    "green apple": "green apple",
    "octopus": "octopus",
    "章鱼": "octopus",
    "草莓": "strawberry",
    "寿司": "sushi",
    "熊猫": "panda",
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(FOLDER)


def test_bundle_is_small_and_holds_its_licences() -> None:
    check_files(FOLDER)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 15_000_000
    for name in ("LICENSE-OFL.txt", "LICENSE-emojibase-data.txt", "NOTICE.txt", "README.md"):
        assert (FOLDER / name).stat().st_size > 200, name


def test_defaults_are_those_measured(bundle: Bundle) -> None:
    info = bundle.info
    assert (info.default_sampler, info.default_steps) == ("dpmpp_2m", 15)
    assert info.languages == ("en", "zh")
    evaluation = read_evaluation(FOLDER)
    figures = {
        run["prompts"]: run["measures"]
        for run in evaluation["runs"]
        if run["guidance_scale"] == info.default_guidance_scale
        and (run["steps"], run["seeds"], run["emoji"]) == (15, 4, 640)
    }
    assert figures["en"]["top1"] >= 0.95
    assert figures["zh"]["top1"] >= 0.92
    assert figures["tags"]["top1"] > 0.401  # the prototype's


def test_it_draws_what_it_is_asked_for(bundle: Bundle) -> None:
    gallery = load_gallery()
    place = {emoji.labels["en"]: i for i, emoji in enumerate(gallery.emoji)}
    wanted = np.array([place[label] for label in PROMPTS.values()])
    settings = SamplingSettings(guidance_scale=bundle.info.default_guidance_scale)
    drawn = np.stack(list(draw(bundle, list(PROMPTS), list(range(len(PROMPTS))), settings)))
    assert (ranks(drawn, gallery.thumbnails, wanted) == 0).mean() >= 0.75
    reference = gallery.pictures[[gallery.trained.index(int(i)) for i in wanted]]
    assert speckle(drawn, reference) < 4
    assert high_frequency(drawn) < 1.3 * high_frequency(reference)
