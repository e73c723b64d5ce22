"""Each measure has a known value on images made for it."""

import numpy as np
import pytest

from model_export.evaluation.measures import (
    diversity,
    high_frequency,
    psnr_db,
    ranks,
    speckle,
    thumbnails,
)
from tests.model_export.examples import toy_dataset

IMAGES = toy_dataset().images


def noisy(level: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(0).normal(0, level, IMAGES.shape)
    return np.clip(IMAGES + noise, 0, 255).astype(np.uint8)


def test_images_rank_themselves_first() -> None:
    gallery = thumbnails(IMAGES)
    wanted = np.arange(len(IMAGES))
    assert (ranks(IMAGES, gallery, wanted) == 0).all()
    assert (ranks(noisy(20), gallery, wanted) == 0).all()
    assert (ranks(IMAGES, gallery, np.roll(wanted, 1)) > 0).all()


def test_rank_counts_what_is_nearer() -> None:
    greys = np.array([0, 10, 20, 30], np.uint8)
    images = np.broadcast_to(greys[:, None, None, None], (4, 32, 32, 3)).copy()
    assert ranks(images[:1], thumbnails(images), np.array([3])).tolist() == [3]


def test_thumbnail_is_the_mean_of_its_block() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[0, 0, 0] = 100
    small = thumbnails(image)
    assert small.shape == (1, 768)
    assert small[0, :4].tolist() == [25, 25, 25, 0]


def test_psnr_of_a_known_error() -> None:
    images = np.full((1, 16, 16, 3), 100, np.uint8)
    error = psnr_db(images, images + np.uint8(51))
    assert error[0] == pytest.approx(-20 * np.log10(0.2))


def test_noise_raises_high_frequencies_and_blur_lowers_them() -> None:
    clean = high_frequency(IMAGES)
    blurred = (IMAGES.astype(np.float64) + np.roll(IMAGES, 1, 1) + np.roll(IMAGES, 1, 2)) / 3
    assert high_frequency(noisy(8)) > 1.5 * clean
    assert high_frequency(blurred.astype(np.uint8)) < 0.7 * clean
    assert high_frequency(np.full((1, 16, 16, 3), 80, np.uint8)) == 0


def test_speckle_is_seen_on_white_alone() -> None:
    assert speckle(IMAGES, IMAGES) == 0
    grey = IMAGES.copy()
    grey[grey == 255] = 250
    assert speckle(grey, IMAGES) == pytest.approx(5)
    inked = IMAGES.copy()
    inked[(IMAGES < 255).any(-1)] = 0
    assert speckle(inked, IMAGES) == 0
    assert speckle(noisy(8), IMAGES) > 2


def test_diversity_is_over_the_seeds_of_a_prompt() -> None:
    dark, light = np.full((2, 4, 4, 3), 10, np.uint8), np.full((2, 4, 4, 3), 20, np.uint8)
    dark[1] = light[1] = 99  # a prompt that is drawn alike
    assert diversity(np.concatenate([dark, light]), 2) == pytest.approx(
        np.std([10, 20], ddof=1) / 2
    )
    assert diversity(np.concatenate([dark, dark]), 2) == 0
