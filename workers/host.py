"""A worker: its models, what they share, and how it starts and stops."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import structlog
import uvloop

from diffusion.bundle.bundle import Bundle
from diffusion.bundle.contents import weight_bytes
from diffusion.errors import BundleError
from jobs.cancelling import end
from jobs.errors import StartError, TransientStoreError
from jobs.host.scheduling import yield_to_others
from jobs.queue import Doorbell, queue_name
from jobs.redis.store import RedisStore
from jobs.sweeper import Sweeper
from jobs.telemetry.tracing import open_tracing
from workers.engine.turns import Turns
from workers.ops.ending import end_process
from workers.ops.health import Pulse, why_not_live, why_not_ready
from workers.ops.metrics import Counters, Families
from workers.ops.probes import Probes
from workers.ops.process_age import process_age_s
from workers.ops.watchdog import Watchdog
from workers.pool import Change, next_change
from workers.runtime.active_jobs import Neighbours
from workers.runtime.runtime import RING_AGAIN_S
from workers.served import Served, Surroundings, WorkerModel, calibrated, loaded, must_not_end
from workers.settings import WorkerSettings

log = structlog.get_logger()
Listen = Callable[[str, bool], None]
SWITCH_S = 0.0002
"""How long another thread may keep the GIL once the engine wants it back after a pass."""
ANNOUNCE_S = 1.0
BEAT_S = 0.5
LOOK_S = 0.2  # between two looks at what waits for models that are not loaded
LAST_WRITES_S = 1.0
"""For finished pictures and states that are on their way to the store when the engine fails."""
FAREWELL_S = 2.0
"""For Celery and the store's connections to end after a drain in which Redis did not answer."""
CATALOGUE_S = 30.0  # between two announcements of a model, in case Redis has lost it
SPARE_ANSWERS = 4
"""Rings of a model that may wait for a slot while the last images of others are being written."""


class WorkerHost:
    """A running worker: for each model an engine thread, and one event loop that serves them all.

    It loads and calibrates, starts its threads, announces its models, and runs until it is stopped.

    Raises:
        BundleError: the model was loaded but cannot draw.
        StartError: another model of the pool cannot be served.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: WorkerSettings,
        listen: Listen = lambda _queue, _wanted: None,
        load_s: float = 0.0,
    ) -> None:
        """``bundle`` is the first model's, which took ``load_s`` to load; ``listen`` is called with
        whether a queue's rings are wanted here.
        """
        self._settings = settings
        self._listen_to = listen
        self._tracing = open_tracing(settings, "sfumato-worker", settings.worker_id, behind=True)
        sys.setswitchinterval(SWITCH_S)
        first, *others = settings.each
        _check_room((first, *others) if others else (), settings.model_memory)
        opened, calibration = loaded(first, bundle, load_s), calibrated(bundle, first)
        self._loop = uvloop.new_event_loop()
        self._store = RedisStore(settings)
        self._doorbell = Doorbell(settings)
        self._families = Families()
        self._draining = False
        self._around = Surroundings(
            self._loop, self._store, self._doorbell, self._tracing, self._families,
            Turns() if others else None, Neighbours(), self._run_for_ever, self._engine_failed,
        )  # fmt: skip
        self._models = [WorkerModel(first, self._around, opened, calibration)]
        del bundle, opened  # others may take its place
        self._changing: asyncio.Future[None] | None = None
        self._last_pulses: list[Pulse] = []  # of a stop, which is watched to its end
        self._answering: dict[str, int] = {}  # model → rings under way
        self._answers = threading.Lock()
        self._thread = threading.Thread(target=self._publish, name="publisher")
        self._thread.daemon = True
        self._thread.start()
        for each in others:
            self._call(self._open(each)).result()
        self._cold_start_s = process_age_s()
        self._watchdog = Watchdog(self._why_not_live, settings.hung_s, self._stops_in_vain)
        self._probes: Probes | None = None
        if settings.metrics_port:
            registry, host = self._families.registry, settings.metrics_host
            live, ready = self._why_not_live, self._why_not_ready
            self._probes = Probes(registry, live, ready, host, settings.metrics_port)
        self._tasks: list[asyncio.Task[None]] = []
        self._call(self._begin()).result()

    def _publish(self) -> None:
        yield_to_others()
        self._loop.run_forever()

    async def _begin(self) -> None:
        sweeper = Sweeper(self._store, self._doorbell)
        works = [
            self._announce(),
            self._beat(),
            sweeper.run(self._settings.beat_s / 2, self.counters.redis_errors.inc),
        ]
        if any(model.served is None for model in self._models):
            works.append(self._choose_what_is_loaded())
        self._tasks = [self._run_for_ever(work) for work in works]

    async def _open(self, settings: WorkerSettings) -> None:
        """Load one more model; others make room where not all of them fit.

        Raises:
            StartError: it cannot be served.
        """
        size, memory = weight_bytes(settings.model), self._settings.model_memory
        try:
            for model in self._models:
                if memory and self._loaded_bytes + size > memory:
                    await model.unload()
            opened = await asyncio.to_thread(loaded, settings)
            calibration = await asyncio.to_thread(calibrated, opened.bundle, settings)
        except BundleError as error:
            raise StartError(f"{settings.model}: {error}") from error
        self._models.append(WorkerModel(settings, self._around, opened, calibration))

    @property
    def _loaded_bytes(self) -> int:
        return sum(model.bytes for model in self._models if model.served is not None)

    @property
    def served(self) -> dict[str, Served]:
        """The models that are loaded, by name."""
        return {m.name: m.served for m in self._models if m.served is not None}

    @property
    def counters(self) -> Counters:
        """Those of the first model, which count what is nobody's."""
        return self._models[0].counters

    def _run_for_ever(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        task.add_done_callback(must_not_end)
        return task

    async def _beat(self) -> None:
        """Record, forever, that the event loop runs."""
        while True:
            for served in self.served.values():
                served.runtime.pulse.beat_at = monotonic()
            await asyncio.sleep(BEAT_S)

    async def _announce(self) -> None:
        """Keep the models in the catalogue and this worker among the live ones."""
        catalogue_at = 0.0
        while True:
            try:
                if self._loop.time() - catalogue_at > CATALOGUE_S or catalogue_at == 0.0:
                    await self._announce_models()
                    catalogue_at = self._loop.time()
                for model in self._models:
                    wishes = await self._store.announce_worker(model.worker_entry())
                    if model.served is not None:
                        model.served.runtime.pulse.announced_at = monotonic()
                        model.served.runtime.batch.watch(wanted=wishes.watched)
                    if wishes.drained != model.paused:
                        model.pause(wanted=wishes.drained)
                        self._listen(model)
            except TransientStoreError as error:
                catalogue_at = 0.0
                self.counters.redis_errors.inc()
                log.warning("not announced", reason=str(error))
            await asyncio.sleep(ANNOUNCE_S)

    async def _announce_models(self) -> None:
        names = tuple(model.name for model in self._models)
        pool = names if len(names) > 1 else ()
        for model in self._models:
            await self._store.announce_model(model.catalogue_entry(self._cold_start_s, pool))

    async def _choose_what_is_loaded(self) -> None:
        """Load models for which jobs wait, forever, in the place of others."""
        for model in self._models:
            self._listen(model)
        while True:
            await asyncio.sleep(LOOK_S)
            if self._draining:
                continue
            try:
                change = await self._next_change()
            except TransientStoreError:
                self.counters.redis_errors.inc()
                continue
            if change is not None:
                self._changing = asyncio.ensure_future(self._change(change))
                await asyncio.shield(self._changing)  # it is not left half done

    async def _next_change(self) -> Change | None:
        """Return what to load; of all workers, one at a time loads a model."""
        backlogs = [await self._store.backlog(model.name) for model in self._models]
        states = [m.state(backlog) for m, backlog in zip(self._models, backlogs, strict=True)]
        change = next_change(states, self._settings.model_memory)
        if change is None:
            return None
        (load_s,) = (state.load_s for state in states if state.name == change.load)
        mine = await self._store.take_load(change.load, self._settings.worker_id, load_s + 1.0)
        return change if mine else None

    async def _change(self, change: Change) -> None:
        models = {model.name: model for model in self._models}
        for name in change.unload:
            self._listen_to(queue_name(self._settings, name), False)
            await models[name].unload()
        coming = models[change.load]
        try:
            opened = await asyncio.to_thread(loaded, coming.settings)
        except Exception as error:
            end_process(f"the model {change.load} cannot be loaded again", error)
        if self._draining:
            return
        coming.serve(opened)
        self._listen(coming)
        log.info("model loaded", model=change.load, unloaded=change.unload, load_s=coming.load_s)

    def _listen(self, model: WorkerModel) -> None:
        """Have Celery take a model's rings here or not, as the model is now."""
        queue = queue_name(self._settings, model.name)
        full = self._answering.get(model.name, 0) >= self._settings.slots + SPARE_ANSWERS
        crowded = full and len(self._models) > 1
        self._listen_to(queue, model.served is not None and not model.paused and not crowded)

    def _why_not_live(self) -> list[str]:
        found = self.served
        return [
            f"{name}: {reason}" if len(self._models) > 1 else reason
            for name, served in found.items()
            for reason in why_not_live(served.runtime.pulse, served.engine, self._settings.stall_s)
        ]

    def _why_not_ready(self) -> list[str]:
        """Return why no model takes jobs; empty while one does, or is being loaded."""
        reasons = [
            why_not_ready(served.runtime.pulse, served.engine, self._settings.stall_s)
            for served in self.served.values()
        ]
        if not reasons:
            return ["draining"] if self._draining else []
        return min(reasons, key=len)

    def _engine_failed(self, error: Exception) -> None:
        """End the process: its jobs go to others once their leases expire, as after any death."""
        for served in self.served.values():
            self._loop.call_soon_threadsafe(served.runtime.close)
        sleep(LAST_WRITES_S)
        end_process("the engine cannot go on", error)

    def _stops_in_vain(self) -> bool:
        pulses = self._last_pulses or [each.runtime.pulse for each in self.served.values()]
        unanswered = (pulse.unanswered_s for pulse in pulses)
        return max(unanswered, default=0.0) > self._settings.lease_s + FAREWELL_S

    def _call(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def answer(self, ring: str, queue: str | None = None) -> None:
        """Answer a ring; return once the job it claimed has left this worker."""
        yield_to_others()  # a thread of Celery's
        model = self._models[0]
        for each in self._models:
            if queue == queue_name(self._settings, each.name):
                model = each
        with self._counted(model):
            self._call(self._answer(model, ring)).result()

    async def _answer(self, model: WorkerModel, ring: str) -> None:
        if model.served is not None:
            await model.served.runtime.answer(ring)
        else:  # it was on its way when the model was unloaded
            await asyncio.sleep(RING_AGAIN_S)
            await self._ring(model, ring)

    async def _ring(self, model: WorkerModel, ring: str) -> None:
        try:
            await self._doorbell.ring(model.name, ring)
        except TransientStoreError as error:
            log.warning("a ring is lost; a sweep replaces it", reason=str(error))

    @contextmanager
    def _counted(self, model: WorkerModel) -> Iterator[None]:
        """Count an answer, and take no more rings of its model while too many wait here."""
        self._count(model, 1)
        try:
            yield
        finally:
            self._count(model, -1)

    def _count(self, model: WorkerModel, change: int) -> None:
        if len(self._models) == 1:
            return
        most = self._settings.slots + SPARE_ANSWERS
        with self._answers:
            before = self._answering.get(model.name, 0)
            after = self._answering[model.name] = before + change
            if (before >= most) != (after >= most):
                self._listen(model)

    def drain(self) -> None:
        """Start giving every job back; tasks end as their jobs leave."""
        self._draining = True
        for served in self.served.values():
            self._call(served.runtime.drain())

    @property
    def summary(self) -> dict[str, Any]:
        """What it serves, for its log."""
        return {
            "model": ", ".join(model.name for model in self._models),
            "backend": ", ".join(dict.fromkeys(model.backend for model in self._models)),
            "device": str(self._models[0].device),
            "slots": self._settings.slots,
        }

    def stop(self) -> None:
        """Give the remaining jobs back, retire the worker and end its threads."""
        self._draining = True
        self._call(self._close()).result()
        self._watchdog.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._doorbell.close()
        if self._probes is not None:
            self._probes.close()

    async def _close(self) -> None:
        if self._changing is not None:
            await self._changing
        self._last_pulses = [each.runtime.pulse for each in self.served.values()]
        for model in self._models:
            await model.unload()
        for task in self._tasks:
            task.remove_done_callback(must_not_end)
        await end(*self._tasks)
        try:
            for model in self._models:
                await self._store.retire_worker(model.settings.worker_id)
        except TransientStoreError:
            log.warning("worker not retired; its entry expires")
        await self._store.close()
        await asyncio.to_thread(self._tracing.close)
        await self._loop.shutdown_default_executor()


def _check_room(pool: Sequence[WorkerSettings], memory: int) -> None:
    """Refuse models of which one alone takes too much. Raises: StartError."""
    for each in pool:
        size = weight_bytes(each.model)
        if memory and size > memory:
            raise StartError(
                f"{each.model}: its weights take {size} bytes, SFUMATO_MODEL_MEMORY is {memory}"
            )
