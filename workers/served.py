"""One of a worker's models: its engine and what serves it while it is loaded, and what is known."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import structlog

from diffusion.bundle.bundle import Bundle
from diffusion.bundle.contents import weight_bytes
from diffusion.parts.safety import SafetyChecker
from jobs.cancelling import end
from jobs.catalogue import ModelEntry
from jobs.fleet import WorkerEntry
from jobs.host.scheduling import waited_s
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.store import Backlog
from jobs.telemetry.tracing import Tracing
from workers.engine.batcher import MIN_ROWS
from workers.engine.calibrate import Calibration, calibrate, draw_once, measure
from workers.engine.device_errors import free_memory
from workers.engine.engine import Engine, EngineSettings
from workers.engine.kept import facts, keep_calibration, kept_calibration
from workers.engine.throughput import EngineStats
from workers.loading import load, load_safety
from workers.ops.ending import end_process
from workers.ops.memory import return_freed_memory
from workers.ops.metrics import Counters, Families, Unloaded
from workers.pool import ModelState
from workers.runtime.active_jobs import Neighbours
from workers.runtime.catalogue import model_entry
from workers.runtime.mailbox import Mailbox
from workers.runtime.runtime import Runtime
from workers.settings import WorkerSettings

log = structlog.get_logger()
DETERMINISTIC_ROWS = 16
BUSY = 0.1
"""A calibration of which the engine's thread waited this share for a processor is not kept."""


@dataclass(frozen=True)
class Surroundings:
    """What the models of one worker share."""

    loop: asyncio.AbstractEventLoop
    store: RedisStore
    doorbell: Doorbell
    tracing: Tracing
    families: Families
    turns: AbstractContextManager[None] | None  # of their engines on the device
    neighbours: Neighbours
    run_for_ever: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
    engine_failed: Callable[[Exception], None]


@dataclass(frozen=True)
class Loaded:
    """A model's weights on the device."""

    bundle: Bundle
    safety: SafetyChecker | None
    seconds: float


def loaded(settings: WorkerSettings, bundle: Bundle | None = None, load_s: float = 0.0) -> Loaded:
    """Load a model, or what a bundle lacks that took ``load_s``. It takes a while; any thread may.

    Raises:
        BundleError: it is not a model we can serve.
    """
    began = monotonic()
    bundle = bundle or load(settings)
    safety = load_safety(settings, bundle)
    return Loaded(bundle, safety, load_s + monotonic() - began)


def must_not_end(task: "asyncio.Task[None]") -> None:
    """End the process, to be restarted: without this task the worker would not do its job."""
    if task.cancelled():
        return
    end_process("a task of the worker failed", task.exception())


class Served:
    """A model that is loaded."""

    def __init__(
        self,
        loaded: Loaded,
        settings: WorkerSettings,
        calibration: Calibration,
        stats: EngineStats,
        counters: Counters,
        around: Surroundings,
    ) -> None:
        """Start its engine. It is called on the event loop, or before that runs."""
        bundle, mailbox = loaded.bundle, Mailbox(around.loop)
        engine_settings = _engine_settings(settings, calibration)
        self.engine = Engine(
            bundle, engine_settings, mailbox.put, around.engine_failed, loaded.safety,
            around.turns, stats,
        )  # fmt: skip
        self.runtime = Runtime(
            around.store, around.doorbell, bundle, settings, around.tracing, self.engine, mailbox,
            counters, around.neighbours,
        )  # fmt: skip
        self.engine.start()
        counters.loaded(self.engine, loaded.seconds)
        self._counters = counters
        works = (
            self.runtime.publish(),
            self.runtime.renew(),
            self.runtime.batch.publish(around.store),
        )
        self._tasks = [around.run_for_ever(work) for work in works]

    async def close(self) -> None:
        """Give its jobs back and stop its engine."""
        await self.runtime.drain()
        for task in self._tasks:
            task.remove_done_callback(must_not_end)
        await end(*self._tasks)
        await asyncio.to_thread(self.engine.stop)
        self._counters.unloaded(self.engine.stats, self.engine.rows_per_tick)


class WorkerModel:
    """A model of the worker, loaded or not; all of it is called on the event loop."""

    def __init__(
        self,
        settings: WorkerSettings,
        around: Surroundings,
        loaded: Loaded,
        calibration: Calibration,
    ) -> None:
        """Begin to serve it."""
        bundle = loaded.bundle
        self.settings = settings
        self.name = bundle.info.name
        self.bytes = weight_bytes(settings.model)
        self.load_s = loaded.seconds
        self.paused = False  # by an operator
        self.served: Served | None = None
        self._around = around
        self._calibration = calibration
        self._info, self._noise_schedule = bundle.info, bundle.noise_schedule
        self.backend, self.device = bundle.backbone.name, bundle.device
        self._stats = EngineStats(calibration.rows_per_s)
        idle = Unloaded(self._stats, calibration.rows_per_tick)
        self.counters = Counters(self.name, idle, settings.slots, around.families)
        self._started_at = time()
        self._waits_since: float | None = None
        self._loaded_at = self._used_at = monotonic()
        self.serve(loaded)

    def serve(self, loaded: Loaded) -> None:
        """Begin to serve it with its loaded weights."""
        return_freed_memory()  # of loading and calibrating
        self.served = Served(
            loaded, self.settings, self._calibration, self._stats, self.counters, self._around
        )
        self._loaded_at = self._used_at = monotonic()
        self.load_s = loaded.seconds
        self._waits_since = None
        if self.paused:
            self.served.runtime.pause()

    async def unload(self) -> None:
        """Give its jobs back and drop its weights."""
        if self.served is not None:
            await self.served.close()  # watched until it is done
            self.served = None
            self.counters.draining.set(0)
            gc.collect()
            free_memory(self.device)
            return_freed_memory()

    def pause(self, *, wanted: bool) -> None:
        """Do as an operator wants: give its jobs back and take none, or take jobs again."""
        self.paused = wanted
        self.counters.paused.set(wanted)
        if self.served is None:
            return
        if wanted:
            self.served.runtime.pause()
        else:
            self.served.runtime.resume()

    def state(self, backlog: Backlog) -> ModelState:
        """Return it as the choice of what to load sees it."""
        now, pending = monotonic(), 0 if self.paused else backlog.pending_jobs
        held, rows = 0, 0.0
        if self.served is not None:
            held, rows = self.served.runtime.job_count, self.served.engine.stats.remaining_rows
        if held or pending:
            self._used_at = now
        if self.served is not None or not pending:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        speed = self.units_per_s
        return ModelState(
            name=self.name,
            bytes=self.bytes,
            load_s=self.load_s,
            pending=pending,
            waiting_s=0.0 if self._waits_since is None else now - self._waits_since,
            left_s=(backlog.pending_units + rows) / speed if speed > 0 else 0.0,
            busy=held > 0,
            loaded_s=None if self.served is None else now - self._loaded_at,
            idle_s=now - self._used_at,
        )

    @property
    def units_per_s(self) -> float:
        """Its speed with full batches, 0 if it is not known."""
        return self._stats.units_per_s

    def catalogue_entry(self, cold_start_s: float, pool: tuple[str, ...]) -> ModelEntry:
        """Return it as the catalogue lists it."""
        entry = model_entry(
            self._info, self._noise_schedule, units_per_s=self.units_per_s,
            cold_start_s=cold_start_s,
        )  # fmt: skip
        return entry.model_copy(update={"pool": pool, "load_s": round(self.load_s, 3)})

    def worker_entry(self) -> WorkerEntry:
        """Return it as this worker announces it."""
        served = self.served
        return WorkerEntry(
            id=self.settings.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self.name,
            backend=self.backend,
            slots=self.settings.slots,
            jobs=0 if served is None else served.runtime.job_count,
            rows_per_s=0.0 if served is None else served.engine.stats.rows_per_s,
            started_at=self._started_at,
            units_per_s=self.units_per_s,
            draining=self.paused or (served is not None and served.runtime.pulse.draining),
            loaded=served is not None,
        )


def calibrated(bundle: Bundle, settings: WorkerSettings) -> Calibration:
    """Return the batch size that the settings ask for, or the best one, with its speed.

    Raises:
        BundleError: the model cannot draw.
    """
    rows = settings.rows_per_tick or (DETERMINISTIC_ROWS if settings.deterministic else 0)
    if rows:
        return measure(bundle, max(MIN_ROWS, rows))
    most = 2 * settings.slots
    if settings.cache is None:
        return calibrate(bundle, most)
    of = facts(bundle, most)
    if (kept := kept_calibration(settings.cache, of)) is not None:
        draw_once(bundle)
        log.info("calibration kept", rows_per_tick=kept.rows_per_tick, rows_per_s=kept.rows_per_s)
        return kept
    started, waited = monotonic(), waited_s()
    found = calibrate(bundle, most)
    if waited_s() - waited > BUSY * (monotonic() - started):
        log.warning("others use the processor; the next start will calibrate again")
    elif found.rows_per_s > 0:
        keep_calibration(settings.cache, of, found)
    return found


def _engine_settings(settings: WorkerSettings, calibration: Calibration) -> EngineSettings:
    return EngineSettings(
        slots=settings.slots,
        rows_per_tick=calibration.rows_per_tick,
        deterministic=settings.deterministic,
        batch_sizes=calibration.batch_sizes,
        checkpoint_s=settings.checkpoint_s,
        preview_s=settings.preview_s,
        ageing=settings.ageing,
        class_share=settings.class_share,
        units_per_s=calibration.rows_per_s,
    )
