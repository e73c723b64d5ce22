"""A toy data set, settings small enough to train within a test, and the command line."""

from dataclasses import replace
from typing import Any

import numpy as np
from typer.testing import CliRunner

from model_export import cli
from model_export.data.data import ANIMALS, FOOD, SMILEYS, Dataset
from model_export.data.labels import Emoji
from model_export.training.network import NetworkSettings
from model_export.training.settings import TrainingSettings

SIDE = 32
NETWORK = NetworkSettings(
    sample_size=4,
    latent_channels=8,
    channels=(16, 16),
    heads=2,
    norm_groups=4,
    text_width=16,
    text_layers=1,
    vocab_size=320,
    tokens=12,
)
# Without warm-up and decay a step's rate does not depend on the length of the run.
SETTINGS = TrainingSettings(emoji=6, batch=4, warmup_steps=0, decay_share=0.0, network=NETWORK)
NAMES = (
    ("red heart", "红心", SMILEYS, (220, 20, 20)),
    ("green heart", "绿心", SMILEYS, (20, 200, 20)),
    ("tiger", "老虎", ANIMALS, (240, 140, 20)),
    ("whale", "鲸鱼", ANIMALS, (30, 80, 220)),
    ("apple", "苹果", FOOD, (200, 0, 60)),
    ("banana", "香蕉", FOOD, (240, 220, 40)),
    ("pig", "猪", ANIMALS, (250, 180, 190)),
    ("grinning face", "嘿嘿", SMILEYS, (250, 200, 20)),
)


def toy_emoji(place: int = 0, **changes: Any) -> Emoji:
    """Return one emoji."""
    en, zh, group, _ = NAMES[place]
    emoji = Emoji(
        hexcode=f"1F{place:03d}",
        text=en[0],
        group=group,
        order=place,
        version=1.0,
        labels={"en": en, "zh": zh},
        tags={"en": (*en.split(), "thing", "colour"), "zh": (zh, "东西")},
    )
    return replace(emoji, **changes)


def toy_dataset() -> Dataset:
    """Return squares of one colour on white, each in a different place."""
    images = np.full((len(NAMES), SIDE, SIDE, 3), 255, np.uint8)
    for i, (*_, colour) in enumerate(NAMES):
        images[i, 4 + i : 20 + i, 6:26] = colour
    return Dataset(tuple(toy_emoji(i) for i in range(len(NAMES))), images)


def invoke(*arguments: object) -> str:
    """Run a command, which has to succeed; return what it printed."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
