"""The workers' part of the store on Redis: claims, and all writes under a lease."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import structlog
from redis.asyncio import Redis

from jobs.errors import StaleFence, TransientStoreError, UnreadableRecord
from jobs.redis.connection import ask
from jobs.redis.damage import Damage
from jobs.redis.records import JobHash, decode, warning_fields
from jobs.redis.scripts import Scripts
from jobs.schema import JobError, JobRecord, JobWarning
from jobs.settings import JobsSettings
from jobs.store import (
    Checkpoint,
    Claim,
    FinishedImage,
    Lease,
    Preview,
    Progress,
    Progressed,
    Renewal,
    RequeueReason,
    Retaken,
)
from jobs.tenants import Holding, Share

log = structlog.get_logger()
ORPHAN_TTL_S = 3600  # a blob whose script never ran expires


class RedisClaims:
    """The part of a :class:`jobs.store.JobStore` that workers call."""

    def __init__(
        self,
        redis: "Redis",
        key: Callable[..., str],
        scripts: Scripts,
        settings: JobsSettings,
        damage: Damage,
    ) -> None:
        self._redis = redis
        self._key = key
        self._scripts = scripts
        self._settings = settings
        self._damage = damage
        # model, worker → token of a claim whose reply was lost
        self._unsure: dict[tuple[str, str], str] = {}

    async def claim(
        self,
        model: str,
        worker: str,
        *,
        idle: bool,
        above: int | None = None,
        tenant: str | None = None,
    ) -> Claim | None:
        """Hand the next waiting job of this model to the worker.

        If the reply is lost, the Redis client or the worker's next call repeats the claim, and gets
        what was claimed.
        """
        token = self._unsure.pop((model, worker), None) or secrets.token_hex(8)
        arguments: dict[str, Any] = {"model": model, "worker": worker, "idle": idle, "token": token}
        if above is not None:
            arguments["above"] = above
        if tenant is not None:
            arguments["tenant"] = tenant
        try:
            return await self._claim(arguments)
        except TransientStoreError:
            self._unsure[model, worker] = token
            raise

    async def _claim(self, arguments: dict[str, Any]) -> Claim | None:
        while flat := await self._scripts("claim", arguments):
            job_id, *rest = flat
            job: JobHash = dict(zip(rest[::2], rest[1::2], strict=True))
            fence = job[b"fence"].decode()
            lease = Lease(job_id.decode(), arguments["model"], arguments["worker"], fence)
            try:
                return await self._claimed(lease, job)
            except UnreadableRecord as error:
                await self._fail_unreadable(lease, error)
        return None

    async def _fail_unreadable(self, lease: Lease, error: UnreadableRecord) -> None:
        """Fail a job that no worker can read, so that it is not claimed again."""
        await self._damage.note_job(lease.job_id, error)
        failure = JobError(code="internal", detail=str(error)).model_dump_json()
        await self._scripts("finish", _fence(lease) | {"status": "failed", "error": failure})

    async def _claimed(self, lease: Lease, job: JobHash) -> Claim:
        record = decode(lease.job_id, job)
        return Claim(
            record,
            lease,
            await self._checkpoints(lease.job_id, job),
            tuple(image.index for image in record.images),
            record.deaths >= self._settings.suspect_deaths,
            int(job[b"served_as"]),
            float(job[b"weight"]),
            int(job.get(b"idle_workers", 0)),
        )

    async def _checkpoints(self, job_id: str, job: JobHash) -> tuple[Checkpoint, ...]:
        heads = []
        for field, value in job.items():
            if field.startswith(b"checkpoint:"):
                try:
                    head = orjson.loads(value)
                    Checkpoint(head["image"], head["row"], head["identity"], head["shape"], b"")
                    heads.append(head | {"key": str(head["key"])})
                except (KeyError, TypeError, ValueError):  # the image starts over
                    log.error("a checkpoint is damaged", job_id=job_id, field=repr(field))
        if not heads:
            return ()
        blobs = await ask(self._redis.mget([h["key"] for h in heads]))
        return tuple(
            Checkpoint(h["image"], h["row"], h["identity"], tuple(h["shape"]), blob)
            for h, blob in zip(heads, blobs, strict=True)
            if blob is not None
        )

    async def offer(self, lease: Lease, images: Sequence[int], share: int) -> None:
        """Offer images of a job to idle workers."""
        arguments = _fence(lease) | {"images": images, "share": share}
        if not await self._scripts("helping/offer", arguments):
            raise StaleFence(lease.job_id)

    async def help(
        self, model: str, worker: str, *, most: int, busy: Sequence[str]
    ) -> Claim | None:
        """Hand a worker images of a job that another one offers."""
        arguments = {
            "model": model, "worker": worker, "most": most, "busy": busy,
            "token": secrets.token_hex(8),
        }  # fmt: skip
        flat = await self._scripts("helping/help", arguments)
        if not flat:
            return None
        job_id, *rest = flat
        job: JobHash = dict(zip(rest[::2], rest[1::2], strict=True))
        lease = Lease(job_id.decode(), model, worker, job[b"helper_fence"].decode())
        images = set(orjson.loads(job[b"helper_images"]))
        claim = await self._claimed(lease, job)
        others = set(range(claim.record.spec.num_images)) - images
        kept = tuple(each for each in claim.checkpoints if each.image in images)
        return replace(claim, checkpoints=kept, finished=tuple(sorted(others)), helps=True)

    async def retake(self, lease: Lease) -> Retaken:
        """Take back images that no worker has taken or that a helper has given back."""
        found = await self._scripts("helping/retake", _fence(lease))
        if not found:
            raise StaleFence(lease.job_id)
        return Retaken(*map(frozenset, found))

    async def checkpoints(self, job_id: str) -> tuple[Checkpoint, ...]:
        """Return the job's checkpoints."""
        return await self._checkpoints(
            job_id, await ask(self._redis.hgetall(self._key("job", job_id)))
        )

    async def renew(
        self,
        leases: Sequence[Lease],
        *,
        preemptible: int | None = None,
        held: Sequence[Holding] = (),
    ) -> Renewal:
        """Extend all leases in one call."""
        arguments: dict[str, Any] = {"leases": [_fence(lease) for lease in leases]}
        if preemptible is not None:
            arguments |= {"preemptible": preemptible, "held": held}
        lost, rank, *names = await self._scripts("renew", arguments)
        return Renewal(
            frozenset(job_id.decode() for job_id in lost),
            None if rank < 0 else rank,
            Share(*(name.decode() for name in names)) if names else None,
        )

    async def progress(self, updates: Sequence[Progress]) -> Progressed:
        """Record and publish progress in one call."""
        rows = [
            _fence(u.lease)
            | {"step": u.step, "units_done": u.units_done, "evaluations": u.evaluations}
            | ({} if u.eta_s is None else {"eta_s": round(u.eta_s, 2)})
            for u in updates
        ]
        found = await self._scripts("progress", {"updates": rows})
        return Progressed(*(frozenset(i.decode() for i in ids) for ids in found))

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one round trip."""

        def fill(pipe: Any) -> None:
            for p in previews:
                head = {
                    "image": p.image, "step": p.step, "of": p.of, "content_type": p.content_type,
                }  # fmt: skip
                self._scripts.queue(pipe, "preview", _fence(p.lease) | head, p.data)

        kept = await self._scripts.execute(fill)
        return frozenset(p.lease.job_id for p, ok in zip(previews, kept, strict=True) if not ok)

    async def checkpoint(self, lease: Lease, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the images' checkpoints."""

        def fill(pipe: Any) -> None:
            heads = []
            for c in checkpoints:
                key = self._key("checkpoint", lease.job_id, lease.fence, f"{c.image}:{c.row}")
                pipe.set(key, c.blob, ex=ORPHAN_TTL_S)
                head = {"image": c.image, "row": c.row, "identity": c.identity, "shape": c.shape}
                text = orjson.dumps(head | {"key": key}).decode()
                heads.append({"image": c.image, "key": key, "head": text})
            self._scripts.queue(pipe, "checkpoint", _fence(lease) | {"checkpoints": heads})

        if not (await self._scripts.execute(fill))[-1]:
            raise StaleFence(lease.job_id)

    async def warn(self, lease: Lease, warnings: Sequence[JobWarning]) -> None:
        """Add warnings to the job."""
        arguments = _fence(lease) | {"warnings": warning_fields(warnings)}
        if not await self._scripts("warn", arguments):
            raise StaleFence(lease.job_id)

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store a finished image."""
        key = self._key("image", lease.job_id, lease.fence, str(image.record.index))
        record = image.record
        # As text: a seed is an int64, and Lua's numbers are doubles.
        head = orjson.dumps(record.model_dump() | {"key": key}).decode()
        arguments = {"index": record.index, "size_bytes": record.size_bytes, "key": key}

        def fill(pipe: Any) -> None:
            pipe.set(key, image.data, ex=ORPHAN_TTL_S)
            self._scripts.queue(pipe, "add_image", _fence(lease) | arguments | {"head": head})

        if not (await self._scripts.execute(fill))[-1]:
            raise StaleFence(lease.job_id)

    async def finish(self, lease: Lease, evaluations: int, early: int | None = None) -> JobRecord:
        """End the job as ``succeeded``."""
        more = {} if early is None else {"early": early}
        return await self._leave(
            "finish", lease, status="succeeded", evaluations=evaluations, **more
        )

    async def fail(self, lease: Lease, error: JobError, *, elsewhere: bool = False) -> JobRecord:
        """End the job as ``failed`` with the reason, or have it tried ``elsewhere`` first."""
        failure = {"status": "failed", "error": error.model_dump_json(), "elsewhere": elsewhere}
        return await self._leave("finish", lease, **failure)

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints."""
        return await self._leave("requeue", lease, reason=reason)

    async def _leave(self, name: str, lease: Lease, **arguments: Any) -> JobRecord:
        """Run a transition that takes the job from its worker; return its new record."""

        def fill(pipe: Any) -> None:
            self._scripts.queue(pipe, name, _fence(lease) | arguments)
            pipe.hgetall(self._key("job", lease.job_id))

        held, job = await self._scripts.execute(fill)
        if not held:
            raise StaleFence(lease.job_id)
        return decode(lease.job_id, job)


def _fence(lease: Lease) -> dict[str, Any]:
    return {"id": lease.job_id, "fence": lease.fence}
