"""Models and workers as they announce themselves."""

from dataclasses import dataclass
from typing import Protocol

from jobs.catalogue import ModelEntry

WORKER_TTL_S = 5
"""Silence after which a worker no longer counts as live."""


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

    async def announce_worker(self, worker: WorkerEntry) -> bool:
        """Announce or refresh a live worker; the entry expires after ``WORKER_TTL_S``.

        Return whether an operator wants it drained.
        """

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
