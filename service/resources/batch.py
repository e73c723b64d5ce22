"""A worker's batch as clients see it, detailed enough to animate."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from jobs.fleet import Batch, ChangeKind
from service.resources.representations import View


def _to_microseconds(value: float) -> float:
    return round(value, 6)


class BatchImageView(View):
    """An image that holds a slot."""

    slot: int = Field(ge=0, description="The image keeps it until it leaves.")
    job: str
    image: int = Field(description="Index within its job.")
    step: int = Field(description="Sampling steps done.")
    steps: int
    rows: int = Field(description="Rows per evaluation: 2 with guidance, else 1.")
    in_pass: bool = Field(description="Whether the last forward pass advanced it.")
    width: int
    height: int
    sampler: str


class BatchChangeView(View):
    """An image that has taken or left a slot."""

    sequence: int
    kind: ChangeKind = Field(
        description=(
            "Taken: `admitted` at its first step or `resumed` later. Left: `preempted`, "
            "`released` (drained, canceled or taken over), `finished` or `failed`."
        )
    )
    slot: int
    job: str
    image: int
    at: datetime


class BatchView(View):
    """What a worker's engine is doing."""

    worker: str
    model: str
    at: datetime = Field(description="By the worker's clock.")
    sequence: int = Field(
        description="Number of the newest change; starts at 1 when the model is loaded."
    )
    slots: int = Field(description="Images that the engine can hold.")
    rows_per_tick: int = Field(description="Maximum rows per forward pass.")
    tick: int = Field(description="Number of the last forward pass; 0 before the first.")
    tick_s: Annotated[float, AfterValidator(_to_microseconds)] = Field(
        description="Duration of that pass; 0 while no image holds a slot."
    )
    rows: int = Field(description="Rows of that pass; 0 while no image holds a slot.")
    occupancy: float = Field(ge=0, description="`rows` divided by `rows_per_tick`.")
    images: tuple[BatchImageView, ...] = Field(description="The images that hold slots, by slot.")
    changes: tuple[BatchChangeView, ...] = Field(
        description="Changes after the given sequence number; at most the newest 256."
    )
    totals: dict[ChangeKind, int] = Field(description="All changes so far, by kind.")
    queued_jobs: int = Field(description="Jobs that wait for the model, on any worker.")


def batch_view(batch: Batch, queued_jobs: int, after: int | None) -> BatchView:
    """Return a batch with its changes after a sequence number.

    A number that the worker has not reached predates a reload of the model, and counts as None.
    """
    known = 0 if after is None or after > batch.sequence else after
    return BatchView(
        worker=batch.worker,
        model=batch.model,
        at=batch.at,
        sequence=batch.sequence,
        slots=batch.slots,
        rows_per_tick=batch.rows_per_tick,
        tick=batch.tick,
        tick_s=batch.tick_s,
        rows=batch.rows,
        occupancy=round(batch.rows / batch.rows_per_tick, 3),
        images=tuple(BatchImageView.model_validate(each) for each in batch.images),
        changes=tuple(
            BatchChangeView.model_validate(each) for each in batch.changes if each.sequence > known
        ),
        totals=batch.totals,
        queued_jobs=queued_jobs,
    )
