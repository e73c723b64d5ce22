"""A step's randomness comes from its number."""

from collections import Counter

import numpy as np

from model_export.training.batches import Batch, batch_at


def draw(step: int, seed: int = 0, count: int = 10, size: int = 4) -> Batch:
    return batch_at(step, seed=seed, count=count, size=size, timesteps=1000, shape=(2, 3, 3))


def test_a_step_always_draws_the_same() -> None:
    first, again = draw(7), draw(7)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.timesteps, again.timesteps)
    assert np.array_equal(first.noise, again.noise)


def test_steps_and_seeds_draw_differently() -> None:
    for other in (draw(8), draw(7, seed=1)):
        assert not np.array_equal(draw(7).noise, other.noise)
        assert not np.array_equal(draw(7).timesteps, other.timesteps)


def test_each_image_comes_once_before_any_comes_again() -> None:
    seen = np.concatenate([draw(step).images for step in range(10)])
    for epoch in range(4):
        assert sorted(seen[epoch * 10 : epoch * 10 + 10]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:20])


def test_times_are_spread_over_the_whole_process() -> None:
    quarters: Counter[tuple[int, ...]] = Counter()
    for step in range(50):
        times = draw(step).timesteps
        assert times.min() >= 0
        assert times.max() <= 999
        quarters[tuple(sorted(times // 250))] += 1
    assert quarters == {(0, 1, 2, 3): 50}


def test_times_are_uniform_and_noise_is_unit_gaussian() -> None:
    batches = [draw(step, size=64) for step in range(60)]
    times = np.concatenate([b.timesteps for b in batches])
    noise = np.concatenate([b.noise.ravel() for b in batches])
    assert abs(times.mean() - 499.5) < 5
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
