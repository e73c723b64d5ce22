"""Each layout is drawn as diffusers draws it, at its own sampler and at others.

``python -m tests.parity`` prints the table.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffusion.bundle.bundle import load_bundle
from tests.parity.entry import Entry
from tests.parity.table import ALL, cases, compared, ours

LONG = ("PixArt-α", "Playground v2.5, EDM")
"""Layouts that take seconds, each beside one of its kind that takes less."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    # StableDiffusionPipeline amends what it was given, and says so.
    pytest.mark.filterwarnings("ignore:The configuration file of this scheduler:FutureWarning"),
]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, marks=[pytest.mark.full] * (entry.name in LONG), id=entry.name)
        for entry in ALL
    ],
)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_layout_is_drawn_as_diffusers_draws_it(entry: Entry, whole: bool, tmp_path: Path) -> None:
    """The short form draws the first sampler, the model's own, at the fewest steps."""
    folder = entry.write(tmp_path / "model")
    drawn = list(cases(entry)) if whole else [next(cases(entry))]
    cells = [compared(entry, folder, sampler, steps) for sampler, steps in drawn]
    assert not [cell for cell in cells if cell.flat], "a flat image proves nothing"
    wrong = [(c.name, c.steps, c.difference) for c in cells if c.difference > c.bound]
    assert wrong == []


def test_the_table_would_show_another_sampler_prompt_or_scale(tmp_path: Path) -> None:
    """Every picture of a tiny random network is much like another: not too much, this shows."""
    entry = ALL[0]
    folder = entry.write(tmp_path / "model")
    bundle = load_bundle(folder)
    drawn = ours(entry, bundle, None, 4).astype(int)
    for other, sampler in (
        (entry, entry.samplers[0]),
        (replace(entry, prompt="a blue pear"), None),
        (replace(entry, guidance_scale=entry.guidance_scale + 0.5), None),
        (replace(entry, guidance_rescale=0.7), None),
    ):
        assert np.abs(ours(other, bundle, sampler, 4) - drawn).max() > 2


def test_every_deviation_that_is_allowed_is_of_a_case_that_is_drawn() -> None:
    for entry in ALL:
        drawn = {(s.sampler if s else "own", steps) for s, steps in cases(entry)}
        assert entry.levels.keys() <= drawn
