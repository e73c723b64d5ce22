"""A worker's threads: the engine's, and the event loop's that serves it."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from time import monotonic, time
from typing import Any

import structlog
import torch
import uvloop

from diffusion.bundle import Bundle, load_bundle
from diffusion.onnx_session import SessionSettings
from jobs.cancelling import end
from jobs.catalogue import ModelEntry
from jobs.errors import StoreTrouble
from jobs.queue import Doorbell
from jobs.redis_store import RedisStore
from jobs.store import WorkerEntry
from jobs.sweeper import Sweeper
from jobs.tracing import open_tracing
from workers.batcher import MIN_ROWS
from workers.calibrate import Calibration, calibrate, measure
from workers.catalogue import model_entry
from workers.engine import Engine, EngineSettings
from workers.health import why_not_live, why_not_ready
from workers.memory import keep_freed_memory
from workers.metrics import Counters, add_engine
from workers.probes import Probes
from workers.process_age import process_age_s
from workers.runtime import Runtime
from workers.settings import WorkerSettings
from workers.watchdog import Watchdog

log = structlog.get_logger()
DETERMINISTIC_ROWS = 16
EX_SOFTWARE = 70
SWITCH_S = 0.0002
"""How long another thread may keep the interpreter once the engine wants it back after a pass."""
ANNOUNCE_S = 1.0
BEAT_S = 0.5
CATALOGUE_S = 30.0  # a model is announced again so often, should Redis have lost it


def load(settings: WorkerSettings) -> Bundle:
    """Load the model on the device that the settings name.

    Raises:
        BundleError: the folder is not a model we can serve.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return load_bundle(
        settings.model,
        device=device,
        backend=settings.backend,
        precision=settings.onnx_precision,
        sessions=SessionSettings(provider=settings.onnx_provider),
        name=settings.model_name,
    )


class WorkerHost:
    """Runs the engine and the runtime of one model until it is stopped."""

    def __init__(self, bundle: Bundle, settings: WorkerSettings) -> None:
        self._bundle = bundle
        self._settings = settings
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="publisher")
        self._thread.daemon = True
        self._started_at = time()
        self._tasks: list[asyncio.Task[None]] = []
        self._probes: Probes | None = None

    def start(self) -> None:
        """Calibrate, start both threads, and put the model into the catalogue.

        Raises:
            BundleError: the model was loaded, and cannot draw.
        """
        self._tracing = open_tracing(
            self._settings, "sfumato-worker", self._settings.worker_id, behind=True
        )
        sys.setswitchinterval(SWITCH_S)
        calibration = self._calibrate()
        self._thread.start()
        self._call(self._open(calibration)).result()

    def _calibrate(self) -> Calibration:
        settings = self._settings
        rows = settings.rows_per_tick or (DETERMINISTIC_ROWS if settings.deterministic else 0)
        if rows == 0:
            return calibrate(self._bundle, 2 * settings.slots)
        return measure(self._bundle, max(MIN_ROWS, rows))

    async def _open(self, calibration: Calibration) -> None:
        settings = self._settings
        self._store = RedisStore(settings)
        self._doorbell = Doorbell(settings)
        self._runtime = Runtime(self._store, self._doorbell, self._bundle, settings, self._tracing)
        engine_settings = EngineSettings(
            slots=settings.slots,
            rows_per_tick=calibration.rows_per_tick,
            deterministic=settings.deterministic,
            checkpoint_s=settings.checkpoint_s,
            preview_s=settings.preview_s,
            ageing=settings.ageing,
            class_share=settings.class_share,
            units_per_s=calibration.rows_per_s,
        )
        self._engine = Engine(self._bundle, engine_settings, self._runtime.report)
        self._runtime.attach(self._engine)
        self._engine.start()
        self._cold_start_s = process_age_s()
        add_engine(self._runtime.counters, self._engine, settings.slots, self._bundle.info.name)
        live = partial(why_not_live, self._runtime.pulse, self._engine, settings.stall_s)
        self._watchdog = Watchdog(live, settings.hung_s)
        if settings.metrics_port:
            self._probes = self._open_probes()
        sweeper = Sweeper(self._store, self._doorbell)
        works = [
            self._runtime.publish(), self._runtime.renew(), self._announce(), self._beat(),
            sweeper.run(settings.beat_s, self._runtime.counters.trouble),
        ]  # fmt: skip
        for work in works:
            task = self._loop.create_task(work)
            task.add_done_callback(_must_not_end)
            self._tasks.append(task)

    def _open_probes(self) -> Probes:
        settings = self._settings
        live, ready = (
            partial(check, self._runtime.pulse, self._engine, settings.stall_s)
            for check in (why_not_live, why_not_ready)
        )
        registry = self._runtime.counters.registry
        return Probes(registry, live, ready, settings.metrics_host, settings.metrics_port)

    async def _beat(self) -> None:
        """Note, for ever, that the event loop runs."""
        while True:
            self._runtime.pulse.beat_at = monotonic()
            await asyncio.sleep(BEAT_S)

    async def _announce(self) -> None:
        """Keep the model in the catalogue and this worker among the live ones."""
        catalogue_at = 0.0
        while True:
            try:
                if self._loop.time() - catalogue_at > CATALOGUE_S or catalogue_at == 0.0:
                    await self._store.announce_model(self._model_entry())
                    catalogue_at = self._loop.time()
                await self._store.announce_worker(self._entry())
                self._runtime.pulse.announced_at = monotonic()
            except StoreTrouble as error:
                catalogue_at = 0.0
                self._runtime.counters.trouble()
                log.warning("not announced", reason=str(error))
            await asyncio.sleep(ANNOUNCE_S)

    def _model_entry(self) -> ModelEntry:
        return model_entry(
            self._bundle.info,
            units_per_s=self._engine.stats.units_per_s,
            cold_start_s=self._cold_start_s,
        )

    def _entry(self) -> WorkerEntry:
        settings = self._settings
        host, _, _ = settings.worker_id.rpartition("-")
        return WorkerEntry(
            id=settings.worker_id,
            host=host or settings.worker_id,
            pid=os.getpid(),
            model=self._bundle.info.name,
            backend=self._bundle.backend.name,
            slots=settings.slots,
            jobs=self._runtime.jobs,
            rows_per_s=self._engine.stats.rows_per_s,
            started_at=self._started_at,
            units_per_s=self._engine.stats.units_per_s,
        )

    def _call(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @property
    def engine(self) -> Engine:
        """The engine; there is one once the host has started."""
        return self._engine

    @property
    def counters(self) -> Counters:
        """What the worker counts; there is something once the host has started."""
        return self._runtime.counters

    def answer(self, ring: str) -> None:
        """Answer a ring; return when the job it claimed has left this worker."""
        self._call(self._runtime.answer(ring)).result()

    def drain(self) -> None:
        """Begin to give every job back; tasks end as their jobs leave."""
        self._call(self._runtime.drain())

    def stop(self) -> None:
        """Give back what is left, retire the worker and end its threads."""
        self._call(self._close()).result()
        self._engine.stop()
        self._watchdog.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._doorbell.close()
        if self._probes is not None:
            self._probes.close()

    async def _close(self) -> None:
        await self._runtime.drain()
        for task in self._tasks:
            task.remove_done_callback(_must_not_end)
        await end(*self._tasks)
        try:
            await self._store.retire_worker(self._settings.worker_id)
        except StoreTrouble:
            log.warning("not retired; the entry runs out by itself")
        await self._store.close()
        await asyncio.to_thread(self._tracing.close)
        await self._loop.shutdown_default_executor()


def _must_not_end(task: asyncio.Task[None]) -> None:
    """A part of the worker that ended by itself leaves it blind: stop, and be started again."""
    if task.cancelled():
        return
    log.critical("a part of the worker failed; the process ends", exc_info=task.exception())
    os._exit(EX_SOFTWARE)
