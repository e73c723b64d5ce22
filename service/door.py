"""The state of a serving door: the store, the doorbell, and briefly cached figures."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from jobs.cancelling import end
from jobs.catalogue import ModelEntry
from jobs.errors import JobsError, UnknownModel
from jobs.fleet import WorkerEntry
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobRecord, JobStatus
from jobs.store import Backlog, JobStore
from jobs.sweeper import Sweeper
from jobs.telemetry.tracing import Tracing
from service.auth.key_store import KeyStore
from service.auth.keyring import Keyring
from service.auth.listener_limit import ListenerLimit
from service.auth.rate_limit import RateLimiter
from service.eta import eta_s
from service.http.event_stream import EventStream
from service.http.problem import Refusal
from service.http.shared_frames import SharedFrames
from service.metrics.replica import DoorCounters
from service.resources.cursors import Cursors
from service.resources.links import Links
from service.resources.representations import JobView, job_view
from service.resources.signing import Signer
from service.settings import ServiceSettings
from service.ttl_cache import TtlCache
from service.webhooks.client import WebhookClient
from service.webhooks.delivery import Deliverer
from service.webhooks.secrets import WebhookSecrets

log = structlog.get_logger()


@dataclass
class Door:
    """One replica of the service, open for requests."""

    settings: ServiceSettings
    store: JobStore
    doorbell: Doorbell
    keyring: Keyring | None  # None: no API keys are required
    limiter: RateLimiter
    webhook_secrets: WebhookSecrets
    links: Links
    cursors: Cursors
    counters: DoorCounters
    tracing: Tracing
    models: TtlCache[tuple[ModelEntry, ...]]
    workers: TtlCache[tuple[WorkerEntry, ...]]
    listeners: ListenerLimit
    closing: asyncio.Future[None]  # done when streams and waits have to end
    backlogs: dict[str, TtlCache[Backlog]] = field(default_factory=dict)
    followers: dict[str, int] = field(default_factory=dict)  # job id → clients that follow it here
    trying: Counter[str] = field(default_factory=Counter)  # digest of a request → those under way
    frames: SharedFrames = field(default_factory=SharedFrames)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def model(self, name: str | None) -> ModelEntry:
        """Return the model of this name, or the default model.

        Raises:
            UnknownModel: no worker has ever announced it.
            Refusal: no worker has announced any model.
        """
        wanted = self.settings.default_model if name is None else name
        for read in (self.models.get, self.models.refresh):
            known = await read()
            for entry in known:
                if wanted in (None, entry.name):
                    return entry
        if not known:
            detail = "no worker has announced a model yet; try again soon"
            raise Refusal(503, "no_model", detail, retry_after_s=5)
        names = ", ".join(entry.name for entry in known)
        raise UnknownModel("model", f"unknown model {wanted!r}; available: {names}")

    async def catalogue(self) -> tuple[ModelEntry, ...]:
        """Return all models, among them those of every worker that this door has shown."""
        known = await self.models.get()
        names = {entry.name for entry in known}
        if not known or any(each.model not in names for each in await self.workers.get()):
            return await self.models.refresh()
        return known

    async def view(self, record: JobRecord, links: Links) -> JobView:
        """Return the job as clients see it, with its queue position and ETA."""
        if record.status.ended:
            return job_view(record, links)
        position = None
        if record.status is JobStatus.QUEUED:
            position = await self.store.queue_position(record)
        model = record.spec.model
        speed = sum(w.rows_per_s for w in await self.workers.get() if w.model == model)
        return job_view(
            record,
            links,
            queue_position=None if position is None else position.position,
            eta_s=eta_s(record, position, await self.backlog(model), speed),
        )

    def stream(
        self,
        holder: str,
        frames: AsyncGenerator[bytes],
        on_left: Callable[[], None] = lambda: None,
    ) -> EventStream:
        """Return a response of server-sent events; until its end the holder listens.

        Raises:
            Refusal: 429, the holder or this door has too many listeners.
        """
        self.listeners.enter(holder)
        return EventStream(
            frames,
            keep_alive_s=self.settings.keep_alive_s,
            closing=self.closing,
            on_left=on_left,
            on_end=lambda: self.listeners.leave(holder),
        )

    async def backlog(self, model: str) -> Backlog:
        """Return the model's remaining work, cached briefly."""
        if model not in self.backlogs:
            self.backlogs[model] = TtlCache(lambda: self.store.backlog(model))
        return await self.backlogs[model].get()

    @contextlib.contextmanager
    def following(self, job_id: str) -> Iterator[None]:
        """Count a client as following the job for the length of the block."""
        self.followers[job_id] = self.followers.get(job_id, 0) + 1
        try:
            yield
        finally:
            self.followers[job_id] -= 1
            if not self.followers[job_id]:
                del self.followers[job_id]

    def client_left(self, job_id: str) -> None:
        """Cancel a job unless a client follows it again within the grace period.

        If the door closes meanwhile the job is kept: it was the door that left, not the client.
        """
        self.spawn(self._cancel_unfollowed(job_id))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work beside the requests; it is cancelled when the door closes."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _cancel_unfollowed(self, job_id: str) -> None:
        await asyncio.wait({self.closing}, timeout=self.settings.disconnect_grace_s)
        if self.closing.done() or job_id in self.followers:
            return
        try:
            record = await self.store.cancel(job_id)
        except JobsError as error:
            log.warning("job not canceled after its client left", job_id=job_id, reason=str(error))
            return
        if record.status is JobStatus.CANCELED:
            log.info("job canceled: its client left", job_id=job_id)

    def close_streams(self) -> None:
        """End all streams and waits: their clients reconnect to another door."""
        if not self.closing.done():
            self.closing.set_result(None)

    async def close(self) -> None:
        """Release connections."""
        self.doorbell.close()
        for part in (self.store, self.keyring, self.limiter, self.webhook_secrets):
            with contextlib.suppress(JobsError):
                if part is not None:
                    await part.close()


@contextlib.asynccontextmanager
async def opened(
    settings: ServiceSettings, counters: DoorCounters, tracing: Tracing
) -> AsyncIterator[Door]:
    """Open a door, sweep and deliver webhooks in the background, and close it with the block."""
    if settings.auth == "off":
        log.warning("SFUMATO_AUTH is off: anyone who reaches this door can see and end every job")
    door = _door(settings, counters, tracing)
    webhooks = WebhookClient(settings)
    sweeping = Sweeper(door.store, door.doorbell).run(min(settings.sweep_s, settings.beat_s / 2))
    background = [asyncio.create_task(sweeping)]
    if settings.webhooks_at_once:
        deliverer = Deliverer(
            settings, door.store, door.webhook_secrets, door.links, counters, webhooks
        )
        background.append(asyncio.create_task(deliverer.run()))
    try:
        yield door
    finally:
        door.close_streams()
        await end(*background, *door.tasks)
        await webhooks.close()
        await door.close()


def _door(settings: ServiceSettings, counters: DoorCounters, tracing: Tracing) -> Door:
    store = RedisStore(settings)
    return Door(
        settings=settings,
        store=store,
        doorbell=Doorbell(settings),
        keyring=Keyring(KeyStore(settings)) if settings.auth == "keys" else None,
        limiter=RateLimiter(settings),
        webhook_secrets=WebhookSecrets(settings),
        links=_links(settings),
        cursors=Cursors(_secrets(settings)),
        counters=counters,
        tracing=tracing,
        models=TtlCache(store.models),
        workers=TtlCache(store.workers),
        listeners=ListenerLimit(settings.max_listeners, settings.max_listeners_per_caller),
        closing=asyncio.get_running_loop().create_future(),
    )


def _links(settings: ServiceSettings) -> Links:
    secrets = _secrets(settings)
    return Links(settings.public_url, Signer(secrets, settings.url_ttl_s) if secrets else None)


def _secrets(settings: ServiceSettings) -> tuple[bytes, ...]:
    """Return what links, cursors and aliases are made with; nothing if no keys are required."""
    if settings.auth == "off":
        return ()
    return tuple(secret.get_secret_value().encode() for secret in settings.url_secrets)


async def open_door(request: Request) -> Door:
    """Return the door that serves this request."""
    door = request.app.state.door
    assert isinstance(door, Door)
    return door


DoorDep = Annotated[Door, Depends(open_door)]
