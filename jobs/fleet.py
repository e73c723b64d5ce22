"""Models and workers as they announce themselves, and what a worker that is watched does."""

from dataclasses import dataclass
from typing import Literal, Protocol

from jobs.catalogue import ModelEntry

WORKER_TTL_S = 5
"""Silence after which a worker no longer counts as live."""
WATCHED_TTL_S = 3
"""How long a worker publishes its batch after it was last asked for it."""
BATCH_TTL_S = 2


@dataclass(frozen=True)
class WorkerEntry:
    """A live worker, as it announces itself once a second.

    One that serves several models announces an entry for each, whose id is the worker's, a slash
    and the model's name.
    """

    id: str
    host: str
    pid: int
    model: str
    backend: str
    slots: int
    jobs: int
    rows_per_s: float  # UNet rows while busy, under its present load
    started_at: float
    units_per_s: float = 0.0  # with full batches; 0: not measured
    draining: bool = False  # it gives its jobs back and takes none
    loaded: bool = True  # the model's weights are; a worker of several loads one when jobs wait

    def is_of(self, worker_id: str) -> bool:
        """Return whether this is a worker's entry, or the one of this id."""
        return self.id == worker_id or self.id.startswith(f"{worker_id}/")


@dataclass(frozen=True)
class Wishes:
    """What others want of a worker; it learns of it as it announces itself."""

    drained: bool = False  # by an operator: it is to give its jobs back and take none
    watched: bool = False  # it is to publish its batch


ChangeKind = Literal["admitted", "resumed", "preempted", "released", "finished", "failed"]


@dataclass(frozen=True)
class BatchImage:
    """An image that holds a slot."""

    slot: int  # its own until it leaves, the lowest that was free
    job: str
    image: int  # index within its job
    step: int  # sampling steps finished
    steps: int
    rows: int  # forward rows of an evaluation: 2 when guided
    in_pass: bool  # the last forward pass has advanced it
    width: int
    height: int
    sampler: str


@dataclass(frozen=True)
class BatchChange:
    """An image that has got a slot, or has left it."""

    sequence: int  # 1, 2, … while the worker has the model loaded
    kind: ChangeKind
    slot: int
    job: str
    image: int
    at: float


@dataclass(frozen=True)
class Batch:
    """What a worker's engine does now: who holds its slots, and the last forward pass."""

    worker: str
    model: str
    at: float
    sequence: int  # of the newest change
    slots: int
    rows_per_tick: int  # the bound on forward rows
    tick: int  # 1, 2, …; 0 before the first forward pass
    tick_s: float  # of the last forward pass with its step; 0 while no image holds a slot
    rows: int  # of that pass, likewise
    images: tuple[BatchImage, ...]  # by slot
    changes: tuple[BatchChange, ...]  # the newest, in their order
    totals: dict[ChangeKind, int]  # of all changes, by kind


class Fleet(Protocol):
    """The catalogue and the live workers, a part of the store."""

    async def announce_model(self, model: ModelEntry) -> None:
        """Add a model to the catalogue, which outlives its workers."""

    async def forget_model(self, name: str) -> bool:
        """Remove a model from the catalogue, readable or not; return whether it was there.

        A worker that serves it adds it again.
        """

    async def models(self) -> tuple[ModelEntry, ...]:
        """Return the catalogue, by name; unreadable entries are logged and skipped."""

    async def announce_worker(self, worker: WorkerEntry) -> Wishes:
        """Announce or refresh a live worker; the entry expires after ``WORKER_TTL_S``."""

    async def retire_worker(self, worker_id: str) -> None:
        """Remove a worker that stops."""

    async def drain_worker(self, worker_id: str, *, wanted: bool) -> bool:
        """Have a worker give its jobs back and take none until that is no longer ``wanted``.

        Return False if it is not live. It learns of it within a second or two.
        """

    async def take_load(self, model: str, worker: str, hold_s: float) -> bool:
        """Return whether the worker may load the model for jobs that wait, alone for a time.

        Otherwise every worker would leave what it does for one job.
        """

    async def workers(self) -> tuple[WorkerEntry, ...]:
        """Return the live workers."""

    async def watch_batch(self, worker_id: str) -> Batch | None:
        """Have a worker publish its batch for some seconds; return the newest, None before it."""

    async def publish_batch(self, batch: Batch) -> None:
        """Publish what a worker does now; it expires after ``BATCH_TTL_S``."""
