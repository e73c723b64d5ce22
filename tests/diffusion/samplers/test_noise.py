"""Noise is a function of its key alone, and it is standard normal."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from diffusion.errors import NoiseError
from diffusion.samplers.noise import INITIAL_ROW, standard_noise

SHAPE = (4, 16, 16)
PINNED = [-0.2933390140533447, 1.703830599784851, 1.5391918420791626]


def test_first_values_never_change() -> None:
    # A checkpoint taken by an earlier release resumes only if these stay.
    assert standard_noise(7, 0, INITIAL_ROW, (3,)).tolist() == pytest.approx(PINNED, abs=0)


def test_noise_is_that_of_a_generator_made_for_its_key() -> None:
    key, counter = np.array([5, 3], np.uint64), np.array([0, 0, 0, 8], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
    expected = generator.standard_normal((3, 5), dtype=np.float32)
    standard_noise(5, 3, 1, (7,))  # leaves nothing behind
    noise = standard_noise(5, 3, 7, (3, 5))
    assert noise.dtype == np.float32
    assert np.array_equal(noise, expected)


def test_threads_do_not_share_a_generator() -> None:
    rows = [row % 50 for row in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda row: standard_noise(1, 2, row, (64,)), rows))
    expected = [standard_noise(1, 2, row, (64,)) for row in range(50)]
    assert all(np.array_equal(draw, expected[row]) for row, draw in zip(rows, drawn, strict=True))


def test_neighbouring_keys_are_independent() -> None:
    keys = [(s, i, r) for s in (0, 1, 2**64 - 1) for i in (0, 1) for r in (INITIAL_ROW, 0, 1)]
    draws = np.stack([standard_noise(*key, (64, 64)).ravel() for key in keys])
    correlations = np.corrcoef(draws) - np.eye(len(keys))
    assert np.abs(correlations).max() < 5 / math.sqrt(64 * 64)


def test_long_draw_does_not_run_into_the_next_row() -> None:
    values = np.concatenate([standard_noise(9, 0, row, (100_000,)) for row in range(3)])
    assert len(np.unique(values.view(np.uint32))) > 0.97 * len(values)


def test_distribution_is_the_normal_one() -> None:
    draws = np.sort(standard_noise(12, 3, 4, (20_000,)).astype(float))
    expected = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in draws])
    observed = (np.arange(len(draws)) + 0.5) / len(draws)
    assert np.abs(expected - observed).max() < 1.95 / math.sqrt(len(draws))  # p = 0.001


@pytest.mark.parametrize(
    ("seed", "stream", "row", "message"),
    [
        (-1, 0, 0, "seed -1"),
        (2**64, 0, 0, "seed 18446744073709551616"),
        (0, -1, 0, "stream -1"),
        (0, 0, -2, "row -2"),
    ],
)
def test_key_out_of_range_is_named(seed: int, stream: int, row: int, message: str) -> None:
    with pytest.raises(NoiseError, match=message):
        standard_noise(seed, stream, row, SHAPE)
