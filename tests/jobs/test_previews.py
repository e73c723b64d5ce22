"""A number of steps or an object: which previews a job sends, and how that is stored."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from jobs.redis.store import RedisStore
from jobs.schema import JobRequest, JobSpec, Previews
from tests.jobs.examples import claim, spec, submit


@pytest.mark.parametrize(
    ("given", "meant", "stored"),
    [
        (3, Previews(every=3), b"3"),
        (0, Previews(every=0), b"0"),
        ({}, Previews(every=1), b"1"),
        ({"every": 3, "of": "estimate", "size": None}, Previews(every=3), b"3"),
        ({"of": "sample"}, Previews(of="sample"), b'{"every":1,"of":"sample","size":null}'),
        (
            {"every": 0, "size": 9},
            Previews(every=0, size=9),
            b'{"every":0,"of":"estimate","size":9}',
        ),
    ],
)
def test_a_number_is_stored_where_it_says_everything(
    given: Any, meant: Previews, stored: bytes
) -> None:
    made = spec(preview=given)
    assert made.preview == meant
    text = made.model_dump_json()
    assert orjson.dumps(orjson.loads(text)["preview"]) == stored
    assert JobSpec.model_validate_json(text) == made


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        (-1, "every", "greater than or equal to 0"),
        (1001, "every", "less than or equal to 1000"),
        ({"size": 0}, "size", "greater than or equal to 1"),
        ({"size": -5}, "size", "greater than or equal to 1"),
        ({"size": 4097}, "size", "less than or equal to 4096"),
        ({"size": "large"}, "size", "valid integer"),
        ({"of": "noise"}, "of", "'estimate' or 'sample'"),
        ({"steps": 3}, "steps", "not permitted"),
        ("3", None, "a number of steps, or an object"),
        (True, None, "a number of steps, or an object"),
        (None, None, "a number of steps, or an object"),
    ],
)
def test_what_is_refused_is_named(given: Any, field: str | None, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as refused:
        JobRequest.model_validate({"prompt": "", "preview": given})
    (error,) = refused.value.errors()
    assert error["loc"] == (("preview",) if field is None else ("preview", field))


async def test_only_jobs_that_a_former_worker_cannot_read_are_kept_from_it(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    for name, preview in (("plain", 2), ("sample", {"of": "sample", "size": 8})):
        await submit(store, name, preview=preview)
    versions = [
        redis.hget(f"{prefix}:job:{name}", "schema_version") for name in ("plain", "sample")
    ]
    assert versions == [b"1", b"2"]
    assert [(await claim(store)).record.id for _ in range(2)] == ["plain", "sample"]


async def test_a_former_worker_s_preview_is_an_estimate(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    await submit(store, "a")
    kept = {
        "kind": "preview",
        "attempt": "1",
        "image": "0",
        "step": "4",
        "content_type": "image/png",
    }
    redis.xadd(f"{prefix}:events:a", kept | {"data": b"blurry"})
    await store.cancel("a")
    (found,) = [event.data async for event in store.events("a") if event.kind == "preview"]
    assert (found["of"], found["data"]) == ("estimate", b"blurry")
