"""A worker's batch as clients see it, with enough to animate it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from jobs.fleet import Batch, ChangeKind
from service.resources.representations import View


def _to_microseconds(value: float) -> float:
    return round(value, 6)


class BatchImageView(View):
    """An image that holds a slot."""

    slot: int = Field(ge=0, description="Its own until it leaves.")
    job: str
    image: int = Field(description="Index within its job.")
    step: int = Field(description="Sampling steps finished.")
    steps: int
    rows: int = Field(description="Forward rows of one evaluation: 2 if it is guided, else 1.")
    in_pass: bool = Field(description="The last forward pass has advanced it.")
    width: int
    height: int
    sampler: str


class BatchChangeView(View):
    """An image that has got a slot, or has left it."""

    sequence: int
    kind: ChangeKind = Field(
        description=(
            "`admitted` at its first step, `resumed` from a checkpoint; left as `preempted`, "
            "`released` (drained, cancelled or taken over), `finished` or `failed`."
        )
    )
    slot: int
    job: str
    image: int
    at: datetime


class BatchView(View):
    """What a worker's engine does now."""

    worker: str
    model: str
    at: datetime = Field(description="By the worker's clock.")
    sequence: int = Field(description="Of the newest change; counts from 1 when a model is loaded.")
    slots: int = Field(description="Images that the engine can hold.")
    rows_per_tick: int = Field(description="Forward rows that a pass can have.")
    tick: int = Field(description="Number of the last forward pass; 0 before the first.")
    tick_s: Annotated[float, AfterValidator(_to_microseconds)] = Field(
        description="What that took; 0 while no image holds a slot."
    )
    rows: int = Field(description="Its forward rows; 0 while no image holds a slot.")
    occupancy: float = Field(ge=0, description="`rows` over `rows_per_tick`.")
    images: tuple[BatchImageView, ...] = Field(description="Those that hold slots, by slot.")
    changes: tuple[BatchChangeView, ...] = Field(
        description="Those after the sequence number that was given, at most the newest 256."
    )
    totals: dict[ChangeKind, int] = Field(description="All changes so far, by kind.")
    queued_jobs: int = Field(description="Jobs that wait for the model at any worker.")


def batch_view(batch: Batch, queued_jobs: int, after: int | None) -> BatchView:
    """Return a batch with its changes after a sequence number.

    A number that the worker has not reached is of an earlier load of the model: it counts as None.
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
