"""What a version leaves in Redis, kept as a file that every later version has to read.

Before the layout changes, keep what today's code writes and then raise ``SCHEMA_VERSION``:
``python -m tests.jobs.redis.former_records > tests/jobs/redis/former/records-N.json``. A file holds
each key by value, not in Redis' own dump format, so any server can load it.
"""

import asyncio
import base64
import tempfile
from pathlib import Path
from typing import Any

import orjson
from redis import Redis

from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from jobs.schema import SCHEMA_VERSION, JobError, Priority
from jobs.settings import JobsSettings
from jobs.store import Idempotency, Preview, Progress
from jobs.tenants import TenantTerms
from jobs.webhook import Webhook
from tests.jobs.examples import MODEL, checkpoint, claim, picture, spec, work
from tests.redis_server import redis_server

FOLDER = Path(__file__).parent / "former"
PREFIX = "former"


async def write(store: RedisStore) -> None:
    """Leave a job in every state of its life, with everything that belongs to it."""
    await store.announce_model(MODEL)
    await store.announce_worker(WorkerEntry("w1", "host", 1, "toy", "torch", 16, 1, 30.5, 1.0))
    await store.tenants.set(TenantTerms(name="acme", weight=2.0))

    async def submit(job_id: str, webhook: Webhook | None = None, **fields: Any) -> None:
        wanted = spec(**fields)
        key = Idempotency(f"key-{job_id}", "body")
        await store.create(job_id, wanted, work(wanted), idempotency=key, webhook=webhook)

    await submit("succeeded")
    held = await claim(store, "w1")
    await store.progress([Progress(held.lease, 4, 4.0, 4, 1.5)])
    await store.preview([Preview(held.lease, 0, 4, "image/png", b"blurry", "sample")])
    await store.add_image(held.lease, picture())
    await store.finish(held.lease, 10)
    await submit("failed", Webhook(url="https://shop.example/hook"))
    await store.fail(
        (await claim(store, "w1")).lease, JobError(code="non_finite", detail="NaN at row 3")
    )
    await submit("canceled")
    await store.cancel("canceled")
    await submit("expired", deadline_s=0.05)
    await asyncio.sleep(0.1)
    await store.sweep()
    await submit("running", num_images=2)
    held = await claim(store, "w1")
    await store.add_image(held.lease, picture(1))
    await store.progress([Progress(held.lease, 13, 13.0, 13, 0.5)])
    await store.checkpoint(held.lease, [checkpoint(3)])
    await submit("interrupted")
    held = await claim(store, "w1")
    await store.progress([Progress(held.lease, 7, 7.0, 7)])
    await store.checkpoint(held.lease, [checkpoint(7)])
    await store.requeue(held.lease, "drain")
    await submit(
        "waiting",
        metadata={"order": "17"},
        preview={"of": "sample", "size": 64},
        prompt_syntax="a1111",
    )
    await submit("high", priority=Priority.HIGH, tenant="acme")
    await submit("low", priority=Priority.LOW, prompt="红苹果")


def _read(redis: Any, key: bytes, kind: str) -> Any:
    match kind:
        case "string":
            return _text(redis.get(key))
        case "hash":
            return {_text(k): _text(v) for k, v in sorted(redis.hgetall(key).items())}
        case "set":
            return sorted(map(_text, redis.smembers(key)))
        case "list":
            return [_text(v) for v in redis.lrange(key, 0, -1)]
        case "zset":
            return {_text(m): score for m, score in redis.zrange(key, 0, -1, withscores=True)}
        case "stream":
            return {_text(i): {_text(k): _text(v) for k, v in f.items()} for i, f in
                    redis.xrange(key)}  # fmt: skip
    raise AssertionError(kind)


def load(redis: Any, prefix: str, path: Path) -> None:
    """Write a kept file's keys under the prefix."""
    # Records name keys: a checkpoint's, a picture's.
    kept = orjson.loads(path.read_text().replace(f"{{{PREFIX}}}", prefix))
    for name, (kind, value) in kept["keys"].items():
        _write(redis, prefix + name, kind, value)


def _write(redis: Any, key: str, kind: str, value: Any) -> None:
    match kind:
        case "string":
            redis.set(key, _bytes(value))
        case "hash":
            redis.hset(key, mapping={k: _bytes(v) for k, v in value.items()})
        case "set":
            redis.sadd(key, *value)
        case "list":
            redis.rpush(key, *value)
        case "zset":
            redis.zadd(key, value)
        case "stream":
            for event_id, fields in value.items():
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
    """Print what today's code leaves in Redis, a key a line."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        store = RedisStore(JobsSettings(redis_url=url, key_prefix=PREFIX))
        await write(store)
        await store.close()
        redis: Any = Redis.from_url(url)
        prefix, lines = f"{{{PREFIX}}}", []
        for key in sorted(redis.keys(f"{prefix}:*")):
            kind = redis.type(key).decode()
            entry = orjson.dumps([kind, _read(redis, key, kind)]).decode()
            lines.append(f'"{key.decode().removeprefix(prefix)}": {entry}')
        redis.close()
    print(f'{{"schema_version": {SCHEMA_VERSION}, "keys": {{')
    print(",\n".join(lines))
    print("}}")


if __name__ == "__main__":
    asyncio.run(main())
