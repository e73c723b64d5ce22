"""What crosses the border between the engine thread and the rest of the worker.

The runtime hands the engine :class:`Picture` orders; the engine answers with reports through one
thread-safe queue. A report holds host memory only, so that no other thread touches the device.
"""

from dataclasses import dataclass, field
from time import time

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Resume:
    """Where an earlier attempt left a picture."""

    row: int  # the next row
    state: NDArray[np.float32]  # S, (K, C, h, w)
    identity: str  # taken up only where it is equal to the new slot's


@dataclass(frozen=True)
class Picture:
    """An order for one picture: it takes one slot."""

    job_id: str
    image: int  # index within its job; part of the noise key
    prompt: str
    negative_prompt: str
    seed: int
    sampler: str
    schedule: str
    steps: int
    eta: float | None
    guidance_scale: float
    guidance_rescale: float
    width: int
    height: int
    preview: int  # steps between previews, 0 for none
    rank: int  # the class that it is served as, 0 first
    age: float  # when its job was created, seconds; older is served first where all else is equal
    tenant: str = ""
    weight: float = 1.0  # of its tenant
    alone: bool = False  # share the device with no other job
    early: bool = False  # its first evaluation is saved at once, as proof that it can be drawn
    resume: Resume | None = None


@dataclass(frozen=True)
class Admitted:
    """The picture has a slot."""

    job_id: str
    image: int
    row: int  # where it starts: 0, or where an earlier attempt left it
    rows: int
    refused: bool = False  # an earlier state was not taken up: other weights, backend or table
    at: float = field(default_factory=time, compare=False)  # seconds since 1970


@dataclass(frozen=True)
class Advanced:
    """Rows were evaluated: where each picture that moved in this tick stands now."""

    tick: int
    pictures: tuple["Standing", ...]
    rows: int  # of the forward pass
    seconds: float  # it and the step took
    at: float = field(default_factory=time, compare=False)  # its end, seconds since 1970


@dataclass(frozen=True)
class Standing:
    """One picture's place after a tick."""

    job_id: str
    image: int
    row: int  # next row
    rows: int
    step: int  # sampling steps finished
    evaluations: int  # UNet rows (guided ones count twice) in this attempt


@dataclass(frozen=True)
class Previewed:
    """The denoised estimate as pixels (H, W, 3) uint8, not yet encoded."""

    job_id: str
    image: int
    step: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Saved:
    """A picture's state after a tick, to be checkpointed: S (K, C, h, w) float32."""

    job_id: str
    image: int
    row: int
    state: NDArray[np.float32]
    identity: str  # model sha256, backend and table fingerprint


@dataclass(frozen=True)
class Finished:
    """The picture is done: pixels (H, W, 3) uint8."""

    job_id: str
    image: int
    evaluations: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Failed:
    """The picture cannot be drawn; its neighbours go on."""

    job_id: str
    image: int
    code: str  # "non_finite", "out_of_memory", "invalid_request", "internal"
    detail: str


@dataclass(frozen=True)
class Released:
    """A job's rows have left the engine (cancelled, parked or drained), with the last states."""

    job_id: str
    saved: tuple[Saved, ...] = field(default=())


Report = Admitted | Advanced | Previewed | Saved | Finished | Failed | Released
