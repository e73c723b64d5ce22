"""Counter-based noise: a row's draw depends on its key alone, in any order, on any worker."""

import threading

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import NoiseError

INITIAL_ROW = -1
"""The row whose noise an image starts from."""


IMAGES = 0
"""The stream that images draw from: image i of a job has the job's seed + i."""


def standard_noise(seed: int, stream: int, row: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return unit Gaussian noise of ``shape``, float32, keyed by (seed, stream, row).

    The generator is Philox 4x64 (Salmon et al. 2011): its key is (seed, stream) and the row is the
    high word of its counter, so rows never overlap and none needs the previous ones.

    Raises:
        NoiseError: a seed outside 0..2^64−1, or a stream or row out of range.
    """
    if not 0 <= seed < 2**64:
        raise NoiseError(f"seed {seed} is not in 0..2^64-1")
    if not 0 <= stream < 2**64:
        raise NoiseError(f"stream {stream} is not in 0..2^64-1")
    if row < INITIAL_ROW:
        raise NoiseError(f"row {row} is below {INITIAL_ROW}")
    source = _SOURCE
    source.state["state"]["key"][:] = seed, stream
    source.state["state"]["counter"][:] = 0, 0, 0, row - INITIAL_ROW
    source.bits.state = source.state
    return source.generator.standard_normal(shape, dtype=np.float32)


class _Source(threading.local):
    """One generator per thread: a new one would ask the system for entropy it does not use."""

    def __init__(self) -> None:
        self.bits = np.random.Philox(0)
        self.generator = np.random.Generator(self.bits)
        self.state = self.bits.state  # nothing drawn, nothing buffered


_SOURCE = _Source()
