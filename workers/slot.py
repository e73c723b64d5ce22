"""A picture on the device: its program, its conditioning and its state."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import Guidance
from diffusion.noise import INITIAL_ROW, standard_noise
from diffusion.samplers.registry import MAX_REGISTERS
from workers.batcher import Candidate
from workers.messages import Picture, Saved, Standing
from workers.program import Program, program_for


def identity(bundle: Bundle, program: Program) -> str:
    """Return what must be equal for a state to be taken up: weights, backend and coefficients."""
    return f"{bundle.info.sha256}:{bundle.backend.name}:{program.fingerprint}"


@dataclass(eq=False)
class Slot:
    """One picture under way. ``state`` is (MAX_REGISTERS, C, h, w) float32 on the device."""

    picture: Picture
    program: Program
    guidance: Guidance
    state: Tensor
    identity: str
    candidate: Candidate
    units: float  # work of one evaluation
    row: int = 0
    evaluations: int = 0  # forward rows in this attempt
    saved_row: int = 0
    preview_at: float = 0.0
    preview_step: int = 0

    @property
    def done(self) -> bool:
        """Whether every row has been evaluated."""
        return self.row >= self.program.rows

    @property
    def step(self) -> int:
        """Sampling steps finished."""
        return self.program.steps_done[self.row]

    def noise(self) -> NDArray[np.float32] | None:
        """Return the noise of the current row, (C, h, w), or None where it takes none."""
        if not self.program.noisy[self.row]:
            return None
        picture = self.picture
        return standard_noise(picture.seed, picture.image, self.row, tuple(self.state.shape[1:]))

    def standing(self) -> Standing:
        """Return where the picture stands."""
        return Standing(
            self.picture.job_id,
            self.picture.image,
            self.row,
            self.program.rows,
            self.step,
            self.evaluations,
        )

    def save(self) -> Saved:
        """Return the state in host memory, only the registers that the method needs."""
        state = self.state[: self.program.table.registers].to("cpu", copy=True).numpy()
        self.saved_row = self.row
        return Saved(self.picture.job_id, self.picture.image, self.row, state, self.identity)


def open_slot(bundle: Bundle, picture: Picture, guidance: Guidance) -> tuple[Slot, bool]:
    """Return a slot and whether an earlier state had to be refused.

    Raises:
        SamplerError, ScheduleError: the order cannot be compiled.
    """
    program = program_for(picture, bundle.noise_schedule)
    table, info = program.table, bundle.info
    shape = bundle.latent_shape(picture.width, picture.height)
    state = torch.zeros((MAX_REGISTERS, *shape))
    resume = picture.resume
    resumed = (
        resume is not None
        and resume.identity == identity(bundle, program)
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
    candidate = Candidate(
        key=(picture.job_id, picture.image),
        group=shape,
        rank=picture.rank,
        arrived=0.0,  # the engine's clock tells when it is admitted
        passes=guidance.passes,
        remaining=table.rows - row,
        tenant=picture.tenant,
        weight=picture.weight,
    )
    slot = Slot(
        picture=picture,
        program=program,
        guidance=guidance,
        state=state.to(bundle.device),
        identity=identity(bundle, program),
        candidate=candidate,
        units=guidance.passes * picture.width * picture.height / (info.width * info.height),
        row=row,
        saved_row=row,
    )
    return slot, resume is not None and not resumed
