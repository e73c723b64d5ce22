"""An image on the device: its request, its sampling plan and its state."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from torch import Tensor

from diffusion.denoiser import Guidance
from diffusion.model import Conditioning, Truncation
from workers.engine.batcher import Candidate
from workers.engine.messages import Admitted, ImageProgress, ImageRequest, Saved
from workers.engine.sampling_plan import SamplingPlan

log = structlog.get_logger()


@dataclass(eq=False)
class Slot:
    """One image under way. ``state`` is (MAX_REGISTERS, C, h, w) float32 on the device."""

    request: ImageRequest
    plan: SamplingPlan
    guidances: Sequence[Guidance]  # one, or several where a prompt changes between steps
    turns: Sequence[int]  # rows at which the second and each later one begins
    state: Tensor
    identity: str  # model sha256, backend and table fingerprint
    candidate: Candidate  # what the batcher sees of it
    units: float  # work of one evaluation
    row: int  # the next one to evaluate
    saved_row: int  # of the last checkpoint
    evaluations: int = 0  # forward rows in this attempt
    early: int | None = None  # the step that it was ended at
    doubted: bool = False  # this row gave a non-finite value, which a device may do now and then
    preview_at: float = 0.0
    preview_step: int = 0

    @property
    def done(self) -> bool:
        """Whether every row has been evaluated, or it was ended early."""
        return self.early is not None or self.row >= self.plan.rows

    def end_with(self, denoised: Tensor) -> None:
        """End the image with the estimate (C, h, w) of the row before, unless it has ended."""
        if not self.done:
            self.state, self.early = denoised[None].clone(), self.step

    @property
    def guidance(self) -> Guidance:
        """How the next row is conditioned."""
        return self.guidances[bisect_right(self.turns, self.row)]

    @property
    def passes(self) -> int:
        """Forward rows of an evaluation, the same in every row."""
        return self.candidate.passes

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.request.width * self.request.height

    @property
    def step(self) -> int:
        """Sampling steps finished."""
        return self.plan.steps_done[self.row]

    def admitted(self, *, refused: bool) -> Admitted:
        """Return that the image has this slot; ``refused`` if an earlier state was."""
        conds = [each.cond for each in self.guidances]
        unconds = [each.uncond for each in self.guidances if each.passes == 2]
        return Admitted(
            *self.request.key,
            self.row,
            refused,
            prompt_cut=_longest(conds),
            negative_prompt_cut=_longest(unconds),
            at_weight_limit=any(each.at_weight_limit for each in (*conds, *unconds)),
            step=self.step,
        )

    def doubt(self) -> None:
        """Have the row that has just been evaluated evaluated again, and soon."""
        self.doubted = True
        self.candidate.remaining += 1
        self.candidate.started = False  # as a new image, ahead of those that are under way
        log.warning("a non-finite value; the row is evaluated again", job_id=self.request.job_id)

    def progress(self) -> ImageProgress:
        """Return how far the image is."""
        return ImageProgress(
            *self.request.key, self.row, self.plan.rows, self.step, self.evaluations
        )

    @property
    def saved_bytes(self) -> int:
        """What a checkpoint takes."""
        return self.plan.table.registers * self.state[0].nbytes

    def save(self) -> Saved:
        """Return the state in host memory, only the registers that the sampler needs."""
        state = self.state[: self.plan.table.registers].to("cpu", copy=True).numpy()
        self.saved_row = self.row
        return Saved(*self.request.key, self.row, state, self.identity)


def _longest(prompts: Sequence[Conditioning]) -> tuple[Truncation, ...]:
    """Return what was cut of the prompt of which most was."""
    cuts = (each.truncations for each in prompts)
    return max(cuts, key=lambda cut: sum(each.tokens - each.read for each in cut), default=())
