"""A sampler compiled for one job: one row of coefficients per UNet evaluation."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TABLE_VERSION = 2
"""Part of a checkpoint's identity: raise it whenever the meaning of a row or of its noise changes.

2: image i draws the noise of seed + i.
"""


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """A linear sampler as rows S' = A·S + b·D + c·ε, with D evaluated at S[0].

    S holds ``registers`` tensors of the latents' shape in sigma space: the sample, and the memory
    of a multistep method. D is the denoised estimate, ε fresh unit noise.
    """

    sampler: str
    schedule: str
    steps: int
    sigmas: Array  # (R,) the level at which the UNet is evaluated
    timesteps: Array  # (R,) that level as a training timestep, possibly fractional: c_noise
    c_in: Array  # (R,) the network's input is c_in·S[0]
    c_skip: Array  # (R,) D = c_skip·S[0] + c_out·F
    c_out: Array  # (R,)
    mix: Array  # A, (R, K, K)
    denoised: Array  # b, (R, K)
    noise: Array  # c, (R, K)
    initial_scale: float  # S[0] starts as this times unit noise
    step_of_row: NDArray[np.int64]  # (R,) sampling steps finished after the row

    @property
    def rows(self) -> int:
        """R, the number of UNet evaluations."""
        return len(self.sigmas)

    @property
    def registers(self) -> int:
        """K, the number of tensors in a job's state."""
        return int(self.mix.shape[1])

    def padded(self, registers: int) -> "SamplerTable":
        """Return the same table with more registers; the added ones stay zero.

        Raises:
            ValueError: fewer registers than the method needs.
        """
        extra = registers - self.registers
        if extra < 0:
            raise ValueError(f"{self.sampler} needs {self.registers} registers, not {registers}")
        if extra == 0:
            return self
        return replace(
            self,
            mix=np.pad(self.mix, ((0, 0), (0, extra), (0, extra))),
            denoised=np.pad(self.denoised, ((0, 0), (0, extra))),
            noise=np.pad(self.noise, ((0, 0), (0, extra))),
        )

    def fingerprint(self) -> str:
        """Return 16 hex digits over all coefficients; equal tables resume each other's states."""
        digest = hashlib.sha256(f"{TABLE_VERSION}:{self.initial_scale!r}".encode())
        for array in (
            self.sigmas, self.timesteps, self.c_in, self.c_skip, self.c_out,
            self.mix, self.denoised, self.noise,
        ):  # fmt: skip
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()[:16]
