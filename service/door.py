"""What a door holds while it serves: the store, the doorbell, and figures read a moment ago."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from jobs.cancelling import end
from jobs.catalogue import ModelEntry
from jobs.errors import JobsError, UnknownModel
from jobs.queue import Doorbell
from jobs.redis_store import RedisStore
from jobs.schema import JobRecord, JobStatus
from jobs.store import Backlog, JobStore, WorkerEntry
from jobs.sweeper import Sweeper
from jobs.tracing import Tracing
from service.eta import eta_s
from service.key_store import KeyStore
from service.keyring import Keyring
from service.links import Links
from service.metrics import DoorCounters
from service.problem import Refusal
from service.rate_limit import RateLimiter
from service.recent import Recent
from service.representations import JobView, job_view
from service.settings import ServiceSettings
from service.signing import Signer
from service.webhook_client import WebhookClient
from service.webhook_delivery import Deliverer
from service.webhook_secrets import WebhookSecrets

log = structlog.get_logger()


@dataclass
class Door:
    """One replica of the service, open for requests."""

    settings: ServiceSettings
    store: JobStore
    doorbell: Doorbell
    keyring: Keyring | None  # None: anyone may do anything
    limiter: RateLimiter
    webhook_secrets: WebhookSecrets
    links: Links
    counters: DoorCounters
    tracing: Tracing
    models: Recent[tuple[ModelEntry, ...]]
    workers: Recent[tuple[WorkerEntry, ...]]
    closing: asyncio.Future[None]  # done when streams and waits have to end
    loop: asyncio.AbstractEventLoop
    backlogs: dict[str, Recent[Backlog]] = field(default_factory=dict)
    watchers: dict[str, int] = field(default_factory=dict)  # job id → clients that follow it here
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def model(self, name: str | None) -> ModelEntry:
        """Return the model of this name, or the service's own.

        Raises:
            UnknownModel: no worker has ever announced it.
            Refusal: no model at all has been announced.
        """
        wanted = name or self.settings.default_model
        for read in (self.models.get, self.models.refresh):
            known = await read()
            for entry in known:
                if wanted in (None, entry.name):
                    return entry
        if not known:
            detail = "no worker has announced a model yet; try again soon"
            raise Refusal(503, "no_model", detail, headers={"retry-after": "5"})
        names = ", ".join(entry.name for entry in known)
        raise UnknownModel("model", f"unknown model {wanted!r}; there are: {names}")

    async def view(self, record: JobRecord, links: Links | None = None) -> JobView:
        """Return the job as clients see it, with its place in the queue and its ETA."""
        links = links or self.links
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

    async def backlog(self, model: str) -> Backlog:
        """Return the model's remaining work as it was a moment ago."""
        if model not in self.backlogs:
            self.backlogs[model] = Recent(lambda: self.store.backlog(model))
        return await self.backlogs[model].get()

    @contextlib.contextmanager
    def attending(self, job_id: str) -> Iterator[None]:
        """Count a client as following the job for the length of the block."""
        self.watchers[job_id] = self.watchers.get(job_id, 0) + 1
        try:
            yield
        finally:
            self.watchers[job_id] -= 1
            if not self.watchers[job_id]:
                del self.watchers[job_id]

    def departed(self, job_id: str) -> None:
        """Cancel a job whose client left, unless one follows it again within the grace time.

        Nor is it canceled where the door closes meanwhile: then it was the door that left.
        """
        self._spawn(self._cancel_unwatched(job_id))

    async def _cancel_unwatched(self, job_id: str) -> None:
        await asyncio.wait({self.closing}, timeout=self.settings.disconnect_grace_s)
        if self.closing.done() or job_id in self.watchers:
            return
        try:
            record = await self.store.cancel(job_id)
        except JobsError as error:
            log.warning("not canceled", job_id=job_id, reason=str(error))
            return
        if record.status is JobStatus.CANCELED:
            log.info("canceled, its client left", job_id=job_id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def close_streams(self) -> None:
        """End every stream and wait: their clients come back to the next door."""
        if not self.closing.done():
            self.closing.set_result(None)


def links_of(settings: ServiceSettings) -> Links:
    """Return how this door's links are made."""
    if settings.auth == "off":
        return Links(settings.public_url)
    secrets = [secret.get_secret_value().encode() for secret in settings.url_secrets]
    return Links(settings.public_url, Signer(secrets, settings.url_ttl_s))


@contextlib.asynccontextmanager
async def opened(
    settings: ServiceSettings, counters: DoorCounters, tracing: Tracing
) -> AsyncIterator[Door]:
    """Open a door, sweep in the background, and close it with the block."""
    loop = asyncio.get_running_loop()
    store = RedisStore(settings)
    doorbell = Doorbell(settings)
    keyring = Keyring(KeyStore(settings)) if settings.auth == "keys" else None
    limiter = RateLimiter(settings)
    secrets = WebhookSecrets(settings)
    links = links_of(settings)
    calling = WebhookClient(settings)
    if keyring is None:
        log.warning("SFUMATO_AUTH is off: whoever reaches this door may see and end every job")
    door = Door(
        settings,
        store,
        doorbell,
        keyring,
        limiter,
        secrets,
        links,
        counters,
        tracing,
        Recent(store.models),
        Recent(store.workers),
        loop.create_future(),
        loop,
    )
    every_s = min(settings.sweep_s, settings.beat_s)
    working = [asyncio.create_task(Sweeper(store, doorbell).run(every_s))]
    if settings.webhooks_at_once:
        deliverer = Deliverer(settings, store, secrets, links, counters, calling)
        working.append(asyncio.create_task(deliverer.run()))
    try:
        yield door
    finally:
        door.close_streams()
        await end(*working, *door.tasks)
        doorbell.close()
        await calling.close()
        for holder in (store, keyring, limiter, secrets):
            with contextlib.suppress(JobsError):
                if holder is not None:
                    await holder.close()


async def open_door(request: Request) -> Door:
    """Return the door that serves this request."""
    door = request.app.state.door
    assert isinstance(door, Door)
    return door


DoorDep = Annotated[Door, Depends(open_door)]
