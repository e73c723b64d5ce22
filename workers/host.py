"""A worker: its parts, their threads, and how they start and stop."""

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from time import monotonic, sleep, time
from typing import Any

import structlog
import torch
import uvloop

from diffusion.backends.backend import DTYPES
from diffusion.backends.onnx.session import SessionSettings
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.codec import Decoder
from diffusion.parts.preview import preview_decoder
from diffusion.parts.safety import SafetyChecker, load_safety_checker
from jobs.cancelling import end
from jobs.errors import TransientStoreError
from jobs.fleet import WorkerEntry
from jobs.host.cpus import usable_cpus
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.sweeper import Sweeper
from jobs.telemetry.tracing import open_tracing
from workers.engine.batcher import MIN_ROWS
from workers.engine.calibrate import Calibration, calibrate, measure
from workers.engine.engine import Engine, EngineSettings
from workers.ops.ending import end_process
from workers.ops.health import why_not_live, why_not_ready
from workers.ops.memory import keep_freed_memory
from workers.ops.metrics import Counters
from workers.ops.probes import Probes
from workers.ops.process_age import process_age_s
from workers.ops.watchdog import Watchdog
from workers.runtime.catalogue import model_entry
from workers.runtime.mailbox import Mailbox
from workers.runtime.runtime import Runtime
from workers.settings import WorkerSettings

log = structlog.get_logger()
DETERMINISTIC_ROWS = 16
SWITCH_S = 0.0002
"""How long another thread may keep the GIL once the engine wants it back after a pass."""
ANNOUNCE_S = 1.0
BEAT_S = 0.5
LAST_WRITES_S = 1.0
"""For finished pictures and states that are on their way to the store when the engine fails."""
FAREWELL_S = 2.0
"""For Celery and the store's connections to end after a drain in which Redis did not answer."""
CATALOGUE_S = 30.0  # between two announcements of the model, in case Redis has lost it


def load(settings: WorkerSettings) -> Bundle:
    """Load the model on the device that the settings name.

    Raises:
        BundleError: the folder is not a model we can serve.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    torch.set_num_threads(settings.threads or min(torch.get_num_threads(), usable_cpus()))
    bundle = load_bundle(
        settings.model,
        device=device,
        backend=settings.backend,
        dtype=settings.dtype,
        precision=settings.onnx_precision,
        sessions=SessionSettings(provider=settings.onnx_provider),
        name=settings.model_name,
    )
    if settings.preview_decoder == "auto":
        bundle.previews = load_previews(settings, bundle)
    return bundle


def load_previews(settings: WorkerSettings, bundle: Bundle) -> Decoder:
    """Return what decodes a model's previews.

    Raises:
        BundleError: the model has a distilled decoder, and it is broken.
    """
    dtype = DTYPES.get(settings.dtype)
    if dtype is None and bundle.device.type == "cpu":
        dtype = torch.float32
    channels = bundle.info.latent_channels
    return preview_decoder(settings.model, bundle.decoder, channels, bundle.device, dtype)


def load_safety(settings: WorkerSettings, bundle: Bundle) -> SafetyChecker | None:
    """Load the model's safety checker if the settings ask for it.

    Raises:
        BundleError: they do, and the model has none.
    """
    if settings.safety == "off":
        return None
    return load_safety_checker(settings.model, bundle.device)


class WorkerHost:
    """A running worker of one model: an engine thread and the event loop that serves it.

    It calibrates, starts its threads, announces its model, and runs until it is stopped.

    Raises:
        BundleError: the model was loaded but cannot draw.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: WorkerSettings,
        listen: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """``listen`` is called with whether Celery should hand rings to this worker."""
        self._bundle = bundle
        self._listen = listen
        self._settings = settings
        self._started_at = time()
        self._tracing = open_tracing(settings, "sfumato-worker", settings.worker_id, behind=True)
        sys.setswitchinterval(SWITCH_S)
        safety = load_safety(settings, bundle)
        calibration = _calibrate(bundle, settings)
        self._loop = uvloop.new_event_loop()
        self._store = RedisStore(settings)
        self._doorbell = Doorbell(settings)
        mailbox = Mailbox(self._loop)
        self.engine = Engine(
            bundle,
            _engine_settings(settings, calibration),
            mailbox.put,
            self._engine_failed,
            safety,
        )
        self.counters = Counters(bundle.info.name, self.engine, settings.slots)
        self._runtime = Runtime(
            self._store, self._doorbell, bundle, settings, self._tracing, self.engine, mailbox,
            self.counters,
        )  # fmt: skip
        self.engine.start()
        self._cold_start_s = process_age_s()
        live, ready = (
            partial(check, self._runtime.pulse, self.engine, settings.stall_s)
            for check in (why_not_live, why_not_ready)
        )
        self._watchdog = Watchdog(live, settings.hung_s, self._stops_in_vain)
        self._probes: Probes | None = None
        if settings.metrics_port:
            registry, host = self.counters.registry, settings.metrics_host
            self._probes = Probes(registry, live, ready, host, settings.metrics_port)
        sweeper = Sweeper(self._store, self._doorbell)
        self._tasks = [
            self._run_for_ever(work)
            for work in (
                self._runtime.publish(),
                self._runtime.renew(),
                self._announce(),
                self._beat(),
                sweeper.run(settings.beat_s / 2, self.counters.redis_errors.inc),
            )
        ]
        self._thread = threading.Thread(target=self._loop.run_forever, name="publisher")
        self._thread.daemon = True
        self._thread.start()

    def _run_for_ever(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(_must_not_end)
        return task

    async def _beat(self) -> None:
        """Record, forever, that the event loop runs."""
        while True:
            self._runtime.pulse.beat_at = monotonic()
            await asyncio.sleep(BEAT_S)

    async def _announce(self) -> None:
        """Keep the model in the catalogue and this worker among the live ones."""
        catalogue_at = 0.0
        while True:
            try:
                if self._loop.time() - catalogue_at > CATALOGUE_S or catalogue_at == 0.0:
                    await self._store.announce_model(
                        model_entry(
                            self._bundle.info,
                            self._bundle.noise_schedule,
                            units_per_s=self.engine.stats.units_per_s,
                            cold_start_s=self._cold_start_s,
                        )
                    )
                    catalogue_at = self._loop.time()
                paused = await self._store.announce_worker(self._worker_entry())
                self._runtime.pulse.announced_at = monotonic()
                if paused != self._runtime.pulse.paused:
                    self._pause(paused)
            except TransientStoreError as error:
                catalogue_at = 0.0
                self.counters.redis_errors.inc()
                log.warning("not announced", reason=str(error))
            await asyncio.sleep(ANNOUNCE_S)

    def _pause(self, wanted: bool) -> None:
        """Do as an operator wants: take no jobs, or take them again."""
        if wanted:
            self._runtime.pause()
        else:
            self._runtime.resume()
        self._listen(not wanted)

    def _engine_failed(self, error: Exception) -> None:
        """End the process: its jobs go to others once their leases expire, as after any death."""
        self._loop.call_soon_threadsafe(self._runtime.close)
        sleep(LAST_WRITES_S)
        end_process("the engine cannot go on", error)

    def _stops_in_vain(self) -> bool:
        return self._runtime.pulse.unanswered_s > self._settings.lease_s + FAREWELL_S

    def _worker_entry(self) -> WorkerEntry:
        settings = self._settings
        return WorkerEntry(
            id=settings.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            model=self._bundle.info.name,
            backend=self._bundle.backbone.name,
            slots=settings.slots,
            jobs=self._runtime.job_count,
            rows_per_s=self.engine.stats.rows_per_s,
            started_at=self._started_at,
            units_per_s=self.engine.stats.units_per_s,
            draining=self._runtime.pulse.draining,
        )

    def _call(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def answer(self, ring: str) -> None:
        """Answer a ring; return once the job it claimed has left this worker."""
        self._call(self._runtime.answer(ring)).result()

    def drain(self) -> None:
        """Start giving every job back; tasks end as their jobs leave."""
        self._call(self._runtime.drain())

    def stop(self) -> None:
        """Give the remaining jobs back, retire the worker and end its threads."""
        self._call(self._close()).result()
        self.engine.stop()
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
        except TransientStoreError:
            log.warning("worker not retired; its entry expires")
        await self._store.close()
        await asyncio.to_thread(self._tracing.close)
        await self._loop.shutdown_default_executor()


def _must_not_end(task: asyncio.Task[None]) -> None:
    """End the process, to be restarted: without this task the worker would not do its job."""
    if task.cancelled():
        return
    end_process("a task of the worker failed", task.exception())


def _calibrate(bundle: Bundle, settings: WorkerSettings) -> Calibration:
    rows = settings.rows_per_tick or (DETERMINISTIC_ROWS if settings.deterministic else 0)
    if rows == 0:
        return calibrate(bundle, 2 * settings.slots)
    return measure(bundle, max(MIN_ROWS, rows))


def _engine_settings(settings: WorkerSettings, calibration: Calibration) -> EngineSettings:
    return EngineSettings(
        slots=settings.slots,
        rows_per_tick=calibration.rows_per_tick,
        deterministic=settings.deterministic,
        checkpoint_s=settings.checkpoint_s,
        preview_s=settings.preview_s,
        ageing=settings.ageing,
        class_share=settings.class_share,
        units_per_s=calibration.rows_per_s,
    )
