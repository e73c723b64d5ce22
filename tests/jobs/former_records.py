"""What earlier versions left in Redis, kept as files, and how such a file is made and loaded.

Before a change of the layout, keep what today's code writes and then raise ``SCHEMA_VERSION``:
``python -m tests.jobs.former_records > tests/jobs/former/records-N.json``. A file holds every type
of key by value, not by Redis' own dump format, so any server can load it.
"""

import asyncio
import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis

from jobs.redis_store import RedisStore
from jobs.schema import SCHEMA_VERSION, JobError, Priority
from jobs.settings import JobsSettings
from jobs.store import Idempotency, Preview, Progress, WorkerEntry
from tests.jobs.examples import MODEL, checkpoint, picture, spec, work
from tests.redis_server import redis_server

FOLDER = Path(__file__).parent / "former"
PREFIX = "former"
TIMES = ("leases", "deadlines", "results", "ended")  # sorted by a time
TIME_FIELDS = ("created_at", "queued_at", "started_at", "finished_at", "expires_at", "claimed_at")


async def write(store: RedisStore) -> None:
    """Leave a job in every state of its life, with everything that belongs to it."""
    await store.announce_model(MODEL)
    await store.announce_worker(WorkerEntry("w1", "host", 1, "toy", "torch", 16, 1, 30.5, 1.0))

    async def submit(job_id: str, **fields: Any) -> None:
        wanted = spec(**fields)
        key = Idempotency(f"key-{job_id}", "body")
        await store.create(job_id, wanted, work(wanted), idempotency=key)

    async def claim() -> Any:
        held = await store.claim("toy", "w1", idle=True)
        assert held is not None
        return held

    await submit("succeeded")
    held = await claim()
    await store.progress([Progress(held.lease, 4, 4.0, 4, 1.5)])
    await store.preview([Preview(held.lease, 0, 4, "image/png", b"blurry")])
    await store.add_image(held.lease, picture())
    await store.finish(held.lease, 10)
    await submit("failed")
    await store.fail((await claim()).lease, JobError(code="non_finite", detail="NaN at row 3"))
    await submit("canceled")
    await store.cancel("canceled")
    await submit("expired", deadline_s=0.05)
    await asyncio.sleep(0.1)
    await store.sweep()
    await submit("running", num_images=2, deadline_s=3600.0)
    held = await claim()
    await store.add_image(held.lease, picture(1))
    await store.progress([Progress(held.lease, 13, 13.0, 13, 0.5)])
    await store.checkpoint(held.lease, [checkpoint(3)])
    await submit("interrupted")
    held = await claim()
    await store.progress([Progress(held.lease, 7, 7.0, 7)])
    await store.checkpoint(held.lease, [checkpoint(7)])
    await store.requeue(held.lease, "drain")
    await submit("waiting", deadline_s=3600.0, metadata={"order": "17"})
    await submit("high", priority=Priority.HIGH)
    await submit("low", priority=Priority.LOW, prompt="红苹果")


def dump(redis: Any, prefix: str) -> dict[str, Any]:
    """Return every key under the prefix by value, with the server's time."""
    seconds, microseconds = redis.time()
    keys = sorted(redis.keys(f"{prefix}:*"))
    return {
        "schema_version": SCHEMA_VERSION,
        "dumped_at": seconds + microseconds / 1e6,
        "keys": {key.decode().removeprefix(prefix): _read(redis, key) for key in keys},
    }


def _read(redis: Any, key: bytes) -> dict[str, Any]:
    kind = redis.type(key).decode()
    if kind == "string":
        value: Any = _text(redis.get(key))
    elif kind == "hash":
        value = {_text(k): _text(v) for k, v in sorted(redis.hgetall(key).items())}
    elif kind == "set":
        value = sorted(_text(v) for v in redis.smembers(key))
    elif kind == "list":
        value = [_text(v) for v in redis.lrange(key, 0, -1)]
    elif kind == "zset":
        value = {_text(m): score for m, score in redis.zrange(key, 0, -1, withscores=True)}
    else:
        assert kind == "stream", kind
        value = [
            [_text(i), {_text(k): _text(v) for k, v in fields.items()}]
            for i, fields in redis.xrange(key)
        ]
    return {"type": kind, "ttl_ms": redis.pttl(key), "value": value}


def load(redis: Any, prefix: str, path: Path) -> None:
    """Write a kept file's keys under the prefix, with its times moved to now."""
    # Records name keys: a checkpoint's, a picture's.
    kept = json.loads(path.read_text().replace(f"{{{PREFIX}}}", prefix))
    seconds, microseconds = redis.time()
    later = seconds + microseconds / 1e6 - kept["dumped_at"]
    for name, entry in kept["keys"].items():
        _write(redis, prefix + name, name.split(":")[1], entry["type"], entry["value"], later)
        if entry["ttl_ms"] > 0:
            redis.pexpire(prefix + name, entry["ttl_ms"])


def _write(redis: Any, key: str, kind: str, form: str, value: Any, later: float) -> None:
    if form == "string":
        redis.set(key, f"{float(value) + later:.6f}" if kind == "seen" else _bytes(value))
    elif form == "hash":
        moved = {k: f"{float(v) + later:.6f}" for k, v in value.items() if k in TIME_FIELDS}
        redis.hset(key, mapping={k: _bytes(v) for k, v in (value | moved).items()})
    elif form == "set":
        redis.sadd(key, *value)
    elif form == "list":
        redis.rpush(key, *value)
    elif form == "zset":
        redis.zadd(key, {m: s + later if kind in TIMES else s for m, s in value.items()})
    else:
        for event_id, fields in value:
            redis.xadd(key, {k: _bytes(v) for k, v in fields.items()}, id=event_id)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    if value.startswith("base64:"):
        return base64.b64decode(value.removeprefix("base64:"))
    return value.encode()


async def main() -> None:
    """Print what today's code leaves in Redis."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        store = RedisStore(JobsSettings(redis_url=url, key_prefix=PREFIX))
        await write(store)
        await store.close()
        kept = dump(Redis.from_url(url), f"{{{PREFIX}}}")
    json.dump(kept, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    asyncio.run(main())
