"""A claimed job on its way through this worker."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import structlog
from structlog.typing import FilteringBoundLogger as BoundLogger

from jobs.catalogue import forward_passes
from jobs.latency import traced_id
from jobs.schema import Previews
from jobs.store import Checkpoint, Claim, Progress, RequeueReason
from workers.engine.messages import ImageProgress, ImageRequest, Previewed, Resume, Saved
from workers.runtime.attempt import Attempt

Leaving = Literal["lost"] | RequeueReason


@dataclass(eq=False)
class Run:
    """A job's state here. Touched only on the publisher's event loop."""

    claim: Claim
    waiting: deque[ImageRequest]  # images without a slot
    unit: float  # units of one forward row
    passes: int  # forward rows of one evaluation
    done: asyncio.Future[None]
    attempt: Attempt
    log: BoundLogger  # with the job's id and its trace's
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # orders writes that end things
    in_slots: set[int] = field(default_factory=set)  # images that hold a slot
    stored: set[int] = field(default_factory=set)
    lent: dict[int, ImageRequest] = field(default_factory=dict)  # images offered to other workers
    progress: dict[int, ImageProgress] = field(default_factory=dict)
    saved: dict[int, Saved] = field(default_factory=dict)  # states not written yet
    previews: dict[int, Previewed] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)  # codes
    early: int | None = None  # the least step at which an image was ended before its last
    moved: bool = False  # has progress that is not published
    leaving: Leaving | None = None
    ended: bool = False

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claim.record.id

    @property
    def wanted(self) -> Previews:
        """Which previews the job sends."""
        return self.claim.record.spec.preview

    @property
    def evaluations(self) -> int:
        """Forward rows in this attempt."""
        return sum(image.evaluations for image in self.progress.values())

    @property
    def rows_left(self) -> int:
        """Evaluations that the slowest image has before it."""
        ahead = [image.rows - image.row for image in self.progress.values()]
        later = len(self.waiting) * max((i.rows for i in self.progress.values()), default=0)
        return max(ahead, default=0) + later

    def total_progress(self, eta_s: float | None) -> Progress:
        """Return how far the job is, over all its images."""
        record = self.claim.record
        earlier = len(self.stored - self.progress.keys())  # stored by earlier attempts
        steps = sum(image.step for image in self.progress.values())
        rows = sum(image.row for image in self.progress.values()) * self.passes
        return Progress(
            self.claim.lease,
            steps + earlier * record.spec.num_inference_steps,
            rows * self.unit + earlier * (record.units / record.spec.num_images),
            self.evaluations,
            eta_s,
        )


def open_run(claim: Claim, unit: float, attempt: Attempt, *, embeds_guidance: bool = False) -> Run:
    """Return a run with a request for each image that no earlier attempt has finished."""
    record = claim.record
    resumes = {checkpoint.image: resume(checkpoint) for checkpoint in claim.checkpoints}
    spec = record.spec
    requests = deque(
        ImageRequest(
            job_id=record.id,
            image=image,
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            prompt_syntax=spec.prompt_syntax,
            seed=spec.image_seed(image),
            sampler=spec.sampler,
            schedule=spec.schedule,
            steps=spec.num_inference_steps,
            eta=spec.eta,
            guidance_scale=spec.guidance_scale,
            guidance_rescale=spec.guidance_rescale,
            width=spec.width,
            height=spec.height,
            preview=spec.preview.every,
            preview_sample=spec.preview.of == "sample",
            rank=claim.rank,
            tenant=spec.tenant,
            weight=claim.weight,
            resume=resumes.get(image),
            early=record.deaths > 0 and image not in resumes,
        )
        for image in range(spec.num_images)
        if image not in claim.finished
    )
    done = asyncio.get_running_loop().create_future()
    passes = forward_passes(spec, embeds_guidance=embeds_guidance)
    return Run(
        claim, requests, unit, passes, done, attempt, log_of(claim), stored=set(claim.finished)
    )


def resume(checkpoint: Checkpoint) -> Resume:
    """Return where an image goes on."""
    state = np.frombuffer(checkpoint.blob, np.float32).reshape(checkpoint.shape)
    return Resume(checkpoint.row, state, checkpoint.identity)


def log_of(claim: Claim) -> BoundLogger:
    """Return a logger whose lines carry the job's id and its trace's."""
    trace_id = traced_id(claim.record.traceparent)
    ids = {"job_id": claim.record.id} | ({} if trace_id is None else {"trace_id": trace_id})
    bound: BoundLogger = structlog.get_logger().bind(**ids)
    return bound
