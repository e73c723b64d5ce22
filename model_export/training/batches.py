"""Each step's randomness, from its number alone, so that a resumed run is the same run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.samplers.noise import standard_noise

NOISE, TIMESTEPS, ORDER = range(3)  # the streams of one seed


@dataclass(frozen=True)
class Batch:
    """One step's draw."""

    images: NDArray[np.int64]  # (B,) indices
    timesteps: NDArray[np.int64]  # (B,)
    noise: NDArray[np.float32]  # (B, C, h, w)


def batch_at(
    step: int, *, seed: int, count: int, size: int, timesteps: int, shape: tuple[int, ...]
) -> Batch:
    """Return the draw of a step: random images, random timesteps, unit noise.

    Every image comes once before any comes again. Timesteps are stratified, one in each of ``size``
    equal parts of 0..T−1, which lowers the loss's variance (Kingma et al. 2021, appendix I.1).
    """
    places = np.arange(step * size, (step + 1) * size)
    images = np.array([_shuffled(seed, int(p) // count, count)[p % count] for p in places])
    random = _generator(seed, TIMESTEPS, step)
    times = (random.random(size) + np.arange(size)) / size * timesteps
    whole = np.minimum(random.permutation(times).astype(np.int64), timesteps - 1)
    return Batch(images, whole, standard_noise(seed, NOISE, step, (size, *shape)))


def _shuffled(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return _generator(seed, ORDER, epoch).permutation(count)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, 0, 0, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
