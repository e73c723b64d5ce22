"""A picture on the device: its table, its conditioning and its state."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import Guidance
from diffusion.noise import INITIAL_ROW, standard_noise
from diffusion.samplers.registry import MAX_REGISTERS, compile_table
from diffusion.table import SamplerTable
from workers.batcher import Candidate
from workers.messages import Picture, Saved, Standing


def identity(bundle: Bundle, table: SamplerTable) -> str:
    """Return what must be equal for a state to be taken up: weights, backend and coefficients."""
    return f"{bundle.info.sha256}:{bundle.backend.name}:{table.fingerprint()}"


def table_for(bundle: Bundle, picture: Picture) -> SamplerTable:
    """Return the picture's table.

    Raises:
        SamplerError, ScheduleError: the order asks for something that cannot be compiled.
    """
    return compile_table(
        picture.sampler,
        bundle.noise_schedule,
        schedule=picture.schedule,
        steps=picture.steps,
        eta=picture.eta,
    )


@dataclass
class Slot:
    """One picture under way. ``state`` is (MAX_REGISTERS, C, h, w) float32 on the device."""

    picture: Picture
    table: SamplerTable
    packed: NDArray[np.float32]  # (R, K·K + 2·K): mix, denoised, noise of each row
    noisy: NDArray[np.bool_]  # (R,) whether a row draws noise
    guidance: Guidance
    state: Tensor
    identity: str
    candidate: Candidate
    row: int = 0
    evaluations: int = 0  # forward rows in this attempt
    saved_row: int = 0
    saved_at: float = 0.0
    preview_at: float = 0.0
    preview_step: int = 0

    @property
    def done(self) -> bool:
        """Whether every row has been evaluated."""
        return self.row >= self.table.rows

    @property
    def step(self) -> int:
        """Sampling steps finished."""
        return int(self.table.step_of_row[self.row - 1]) if self.row else 0

    def noise(self) -> NDArray[np.float32] | None:
        """Return the noise of the current row, (C, h, w), or None where it takes none."""
        if not self.noisy[self.row]:
            return None
        picture = self.picture
        return standard_noise(picture.seed, picture.image, self.row, tuple(self.state.shape[1:]))

    def standing(self) -> Standing:
        """Return where the picture stands."""
        return Standing(
            self.picture.job_id,
            self.picture.image,
            self.row,
            self.table.rows,
            self.step,
            self.evaluations,
        )

    def save(self) -> Saved:
        """Return the state in host memory, only the registers that the method needs."""
        state = self.state[: self.table.registers].to("cpu", copy=True).numpy()
        self.saved_row = self.row
        return Saved(self.picture.job_id, self.picture.image, self.row, state, self.identity)


def open_slot(
    bundle: Bundle, picture: Picture, guidance: Guidance, arrived: float
) -> tuple[Slot, bool]:
    """Return a slot and whether an earlier state had to be refused.

    Raises:
        SamplerError, ScheduleError: the order cannot be compiled.
    """
    table = table_for(bundle, picture)
    padded = table.padded(MAX_REGISTERS)
    shape = bundle.latent_shape(picture.width, picture.height)
    state = torch.zeros((MAX_REGISTERS, *shape))
    resume = picture.resume
    resumed = (
        resume is not None
        and resume.identity == identity(bundle, table)
        and resume.state.shape == (table.registers, *shape)
        and 0 <= resume.row < table.rows
    )
    row = 0
    if resume is not None and resumed:
        state[: table.registers] = torch.from_numpy(resume.state.copy())
        row = resume.row
    else:
        first = standard_noise(picture.seed, picture.image, INITIAL_ROW, shape)
        state[0] = torch.from_numpy(first) * table.initial_scale
    parts = [a.reshape(table.rows, -1) for a in (padded.mix, padded.denoised, padded.noise)]
    candidate = Candidate(
        key=(picture.job_id, picture.image),
        group=shape,
        rank=picture.rank,
        arrived=arrived,
        passes=guidance.passes,
        remaining=table.rows - row,
    )
    slot = Slot(
        picture=picture,
        table=table,
        packed=np.concatenate(parts, axis=1).astype(np.float32),
        noisy=np.any(table.noise != 0, axis=1),
        guidance=guidance,
        state=state.to(bundle.device),
        identity=identity(bundle, table),
        candidate=candidate,
        row=row,
        saved_row=row,
    )
    return slot, resume is not None and not resumed
