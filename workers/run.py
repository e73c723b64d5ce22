"""One claimed job on its way through this worker."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import structlog
from structlog.typing import FilteringBoundLogger as BoundLogger

from jobs.latency import traced_id
from jobs.store import Claim, Progress, RequeueReason
from workers.attempt import Attempt
from workers.messages import Picture, Previewed, Resume, Saved, Standing

Leaving = Literal["lost"] | RequeueReason


@dataclass(eq=False)
class Run:
    """A job's state here. Touched only on the publisher's event loop."""

    claim: Claim
    waiting: deque[Picture]  # pictures without a place in the engine
    unit: float  # units of one forward row
    done: asyncio.Future[None]
    attempt: Attempt
    log: BoundLogger  # says whose job it is, and in which trace
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # orders writes that end things
    inside: set[int] = field(default_factory=set)  # pictures that hold a place
    stored: set[int] = field(default_factory=set)
    standings: dict[int, Standing] = field(default_factory=dict)
    saved: dict[int, Saved] = field(default_factory=dict)  # states not written yet
    previews: dict[int, Previewed] = field(default_factory=dict)
    moved: bool = False  # progress not published yet
    published_at: float = 0.0
    leaving: Leaving | None = None
    ended: bool = False

    @property
    def id(self) -> str:
        """The job's id."""
        return self.claim.record.id

    @property
    def evaluations(self) -> int:
        """Forward rows in this attempt."""
        return sum(standing.evaluations for standing in self.standings.values())

    def progress(self, eta_s: float | None) -> Progress:
        """Return how far the job is, over all its pictures."""
        spec = self.claim.record.spec
        finished = self.stored - self.standings.keys()
        passes = 1 if spec.guidance_scale == 1.0 else 2
        steps = sum(s.step for s in self.standings.values())
        rows = sum(s.row for s in self.standings.values()) * passes
        whole = self.claim.record.units / spec.num_images
        return Progress(
            self.claim.lease,
            steps + len(finished) * spec.num_inference_steps,
            rows * self.unit + len(finished) * whole,
            self.evaluations,
            eta_s,
        )

    @property
    def rows_left(self) -> int:
        """Evaluations that the slowest picture has before it."""
        ahead = [s.rows - s.row for s in self.standings.values()]
        later = len(self.waiting) * max((s.rows for s in self.standings.values()), default=0)
        return max(ahead, default=0) + later


def open_run(claim: Claim, unit: float, attempt: Attempt) -> Run:
    """Return a run with an order for each picture that no earlier attempt has finished."""
    record = claim.record
    resumes = {
        checkpoint.image: Resume(
            checkpoint.row,
            np.frombuffer(checkpoint.blob, np.float32).reshape(checkpoint.shape),
            checkpoint.identity,
        )
        for checkpoint in claim.checkpoints
    }
    spec = record.spec
    pictures = deque(
        Picture(
            job_id=record.id,
            image=image,
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            seed=spec.seed,
            sampler=spec.sampler,
            schedule=spec.schedule,
            steps=spec.num_inference_steps,
            eta=spec.eta,
            guidance_scale=spec.guidance_scale,
            guidance_rescale=spec.guidance_rescale,
            width=spec.width,
            height=spec.height,
            preview=spec.preview,
            rank=claim.rank,
            tenant=spec.tenant,
            weight=claim.weight,
            age=record.created_at,
            resume=resumes.get(image),
            early=record.deaths > 0 and image not in resumes,
        )
        for image in range(spec.num_images)
        if image not in claim.finished
    )
    done = asyncio.get_running_loop().create_future()
    return Run(claim, pictures, unit, done, attempt, log_of(claim), stored=set(claim.finished))


def log_of(claim: Claim) -> BoundLogger:
    """Return a logger whose lines carry the job's id and its trace's."""
    trace_id = traced_id(claim.record.traceparent)
    ids = {"job_id": claim.record.id} | ({} if trace_id is None else {"trace_id": trace_id})
    bound: BoundLogger = structlog.get_logger().bind(**ids)
    return bound
