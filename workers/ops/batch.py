"""What the engine does now, for those who watch: slots, the last forward pass, and changes.

It is gathered from reports that the publisher reads in any case, and published only while somebody
watches.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from time import time
from typing import get_args

import structlog

from jobs.errors import TransientStoreError
from jobs.fleet import Batch, BatchChange, BatchImage, ChangeKind
from jobs.schema import JobSpec
from jobs.store import JobStore
from workers.engine.messages import Admitted, Advanced, ImageProgress

log = structlog.get_logger()
PUBLISH_S = 0.5
MOST_CHANGES = 256
"""That are kept for watchers; ``totals`` counts all."""
Key = tuple[str, int]


@dataclass(frozen=True)
class Holder:
    """An image that holds a slot."""

    slot: int
    spec: JobSpec
    rows: int  # forward rows of an evaluation
    step: int  # when it got the slot
    progress: Mapping[int, ImageProgress]  # of its job's images; it grows


class LiveBatch:
    """The slots of one engine. Touched only on the publisher's event loop."""

    def __init__(
        self, worker_id: str, model: str, slots: int, rows_per_tick: Callable[[], int]
    ) -> None:
        """``rows_per_tick`` returns the engine's present bound on forward rows."""
        self._worker_id = worker_id
        self._model = model
        self._slots = slots
        self._rows_per_tick = rows_per_tick
        self._holders: dict[Key, Holder] = {}
        self._free: list[int] = []  # a heap of the numbers below the highest that is taken
        self._passes: list[Advanced] = []  # of the last tick; several after an error
        self._sequence = 0
        self._changes: deque[BatchChange] = deque(maxlen=MOST_CHANGES)
        self._totals: dict[ChangeKind, int] = dict.fromkeys(get_args(ChangeKind), 0)
        self._watched = asyncio.Event()

    def watch(self, *, wanted: bool) -> None:
        """Publish from here on, or no longer."""
        if wanted:
            self._watched.set()
        else:
            self._watched.clear()

    def advanced(self, report: Advanced) -> None:
        """Note a forward pass."""
        if self._passes and self._passes[0].tick != report.tick:
            self._passes.clear()
        self._passes.append(report)

    def admitted(
        self, report: Admitted, spec: JobSpec, rows: int, progress: Mapping[int, ImageProgress]
    ) -> None:
        """Note that an image has a slot; ``progress`` is that of its job's images from here on."""
        slot = heappop(self._free) if self._free else len(self._holders)
        key = report.job_id, report.image
        self._holders[key] = Holder(slot, spec, rows, report.step, progress)
        self._change("resumed" if report.row else "admitted", slot, key)

    def left(self, kind: ChangeKind, job_id: str, image: int) -> None:
        """Note that an image has left its slot, if it had one."""
        holder = self._holders.pop((job_id, image), None)
        if holder is not None:
            heappush(self._free, holder.slot)
            self._change(kind, holder.slot, (job_id, image))

    def released(self, kind: ChangeKind, job_id: str) -> None:
        """Note that all of a job's images have left."""
        for key in [key for key in self._holders if key[0] == job_id]:
            self.left(kind, *key)

    def _change(self, kind: ChangeKind, slot: int, key: Key) -> None:
        self._sequence += 1
        self._totals[kind] += 1
        self._changes.append(BatchChange(self._sequence, kind, slot, *key, time()))

    def snapshot(self) -> Batch:
        """Return what the engine does now."""
        passes = self._passes if self._holders else []
        return Batch(
            worker=self._worker_id,
            model=self._model,
            at=time(),
            sequence=self._sequence,
            slots=self._slots,
            rows_per_tick=self._rows_per_tick(),
            tick=self._passes[-1].tick + 1 if self._passes else 0,
            tick_s=sum(each.seconds for each in passes),
            rows=sum(each.rows for each in passes),
            images=self._images(passes),
            changes=tuple(self._changes),
            totals=dict(self._totals),
        )

    def _images(self, passes: Sequence[Advanced]) -> tuple[BatchImage, ...]:
        moved = {(each.job_id, each.image) for report in passes for each in report.images}
        holders = sorted(self._holders.items(), key=lambda item: item[1].slot)
        return tuple(_image(key, holder, in_pass=key in moved) for key, holder in holders)

    async def publish(self, store: JobStore) -> None:
        """Publish twice a second while somebody watches, forever."""
        while True:
            await self._watched.wait()
            try:
                await store.publish_batch(self.snapshot())
            except TransientStoreError as error:
                log.warning("batch not published", reason=str(error))
                self._watched.clear()  # until the store answers an announcement
            await asyncio.sleep(PUBLISH_S)


def _image(key: Key, holder: Holder, *, in_pass: bool) -> BatchImage:
    job_id, image = key
    spec, progress = holder.spec, holder.progress.get(image)
    return BatchImage(
        slot=holder.slot,
        job=job_id,
        image=image,
        step=holder.step if progress is None else progress.step,
        steps=spec.num_inference_steps,
        rows=holder.rows,
        in_pass=in_pass,
        width=spec.width,
        height=spec.height,
        sampler=spec.sampler,
    )
