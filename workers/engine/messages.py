"""Messages between the engine thread and the rest of the worker.

The runtime submits an :class:`ImageRequest`; the engine answers with reports. A report holds host
memory only, so that no other thread touches the device.
"""

from dataclasses import dataclass, field
from time import time

import numpy as np
from numpy.typing import NDArray

from diffusion.model import Truncation
from jobs.validation.prompt_schedule import PromptSyntax


@dataclass(frozen=True)
class Resume:
    """The state in which an earlier attempt left an image."""

    row: int  # the next row
    state: NDArray[np.float32]  # S, (K, C, h, w)
    identity: str  # resumed only where it equals the new slot's


@dataclass(frozen=True)
class ImageRequest:
    """A request for one image, which takes one slot."""

    job_id: str
    image: int  # index within its job
    prompt: str
    seed: int  # the image's own
    sampler: str
    schedule: str
    steps: int
    guidance_scale: float
    width: int
    height: int
    negative_prompt: str = ""
    prompt_syntax: PromptSyntax = "plain"
    eta: float | None = None
    guidance_rescale: float = 0.0
    preview: int = 0  # steps between previews, 0 for none
    preview_sample: bool = False  # they show the noisy sample, not the estimate
    rank: int = 0  # priority class, 0 first
    tenant: str = ""
    weight: float = 1.0  # of its tenant
    early: bool = False  # checkpointed after its first evaluation, as proof that it can be drawn
    resume: Resume | None = None

    @property
    def key(self) -> tuple[str, int]:
        """The job's id and the image's index: unique in an engine."""
        return self.job_id, self.image


@dataclass(frozen=True)
class Admitted:
    """The image has a slot."""

    job_id: str
    image: int
    row: int  # where it starts: 0, or where an earlier attempt left it
    refused: bool = False  # its earlier state is of other weights, another backend or table
    prompt_cut: tuple[Truncation, ...] = ()
    negative_prompt_cut: tuple[Truncation, ...] = ()
    at_weight_limit: bool = False  # a weight in one of its prompts
    step: int = 0  # sampling steps finished
    at: float = field(default_factory=time, compare=False)  # seconds since 1970


@dataclass(frozen=True)
class ImageProgress:
    """How far one image is after a tick."""

    job_id: str
    image: int
    row: int  # next row
    rows: int
    step: int  # sampling steps finished
    evaluations: int  # UNet rows (guided ones count twice) in this attempt


@dataclass(frozen=True)
class Advanced:
    """One forward pass has advanced these images by a row."""

    tick: int
    images: tuple[ImageProgress, ...]
    rows: int  # of the forward pass
    seconds: float  # of the pass and the step
    at: float = field(default_factory=time, compare=False)  # its end, seconds since 1970


@dataclass(frozen=True)
class Previewed:
    """The denoised estimate, or the noisy sample, as pixels (H, W, 3) uint8, not yet encoded."""

    job_id: str
    image: int
    step: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Saved:
    """An image's state after a tick, for a checkpoint: S (K, C, h, w) float32."""

    job_id: str
    image: int
    row: int
    state: NDArray[np.float32]
    identity: str  # model sha256, backend and table fingerprint


@dataclass(frozen=True)
class Finished:
    """The image is done: pixels (H, W, 3) uint8."""

    job_id: str
    image: int
    pixels: NDArray[np.uint8]
    flagged: bool = False  # by the model's safety checker
    early: int | None = None  # the step that it was ended at, before its last


@dataclass(frozen=True)
class Failed:
    """The image cannot be drawn; the others in its batch continue."""

    job_id: str
    image: int
    code: str  # "non_finite", "out_of_memory", "invalid_request", "internal"
    detail: str


@dataclass(frozen=True)
class Released:
    """A job's images have left the engine (cancelled, preempted or drained), with their states."""

    job_id: str
    saved: tuple[Saved, ...] = ()


Report = Admitted | Advanced | Previewed | Saved | Finished | Failed | Released
