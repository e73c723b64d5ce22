"""A job's manifest over HTTP: when there is one, who sees what of it, and how long it is kept."""

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import Any

from httpx import AsyncClient

from jobs.redis.store import RedisStore
from jobs.schema import ImageOrigin, JobError
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.jobs.examples import claim, picture
from tests.service.doors import submit
from tests.service.keyed import Keyed
from tests.service.worker import PNG, finish

ORIGIN = ImageOrigin(
    worker="host-17",
    model_sha256="0" * 64,
    backend="torch-bf16",
    device="NVIDIA H200",
    deterministic=True,
    sampler_table_version=2,
    eta=0.5,
    versions={"sfumato": "1.0", "torch": "2.8.0"},
)


async def draw(store: RedisStore) -> None:
    """Draw the next job as a worker does that says what with."""
    held = await claim(store)
    for index in range(held.record.spec.num_images):
        kept = picture(index, PNG)
        record = kept.record.model_copy(
            update={"sha256": sha256(PNG).hexdigest(), "origin": ORIGIN}
        )
        await store.add_image(held.lease, replace(kept, record=record))
    await store.finish(held.lease, 10)


async def manifest_of(http: AsyncClient, job_id: str) -> Any:
    answer = await http.get(f"/v1/jobs/{job_id}/manifest")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def test_a_manifest_says_what_made_each_image(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(
        http, num_images=2, preview={"of": "sample"}, metadata={"order": "17"},
        webhook={"url": "https://shop.example/hook"},
    )  # fmt: skip
    await draw(store)
    found = await manifest_of(http, job_id)
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    for field in ("id", "status", "created_at", "finished_at", "attempts", "timings", "warnings"):
        assert found[field] == job[field]
    for image, listed in zip(found["images"], job["images"], strict=True):
        assert {name: image[name] for name in listed if name != "url"} == {
            name: value for name, value in listed.items() if name != "url"
        }
        assert image["sha256"] == sha256(PNG).hexdigest()
        assert image["origin"] == ORIGIN.model_dump()
    expected = job["request"] | {"eta": 0.5}
    del expected["tenant"]
    assert found["request"] == expected


async def test_its_request_can_be_submitted_again(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http, preview=3)
    await finish(store, await claim(store))  # an early version's worker
    first = await manifest_of(http, job_id)
    assert (first["images"][0]["origin"], first["images"][0]["sha256"]) == (None, None)
    answer = await http.post("/v1/jobs", json=first["request"])
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"] == (await http.get(f"/v1/jobs/{job_id}")).json()["request"]


async def test_a_job_that_has_not_ended_has_none(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    for status in ("queued", "running"):
        answer = await http.get(f"/v1/jobs/{job_id}/manifest")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_ended")
        assert f"job {job_id} is {status}" in answer.json()["detail"]
        if status == "queued":
            held = await claim(store)
    await store.fail(held.lease, JobError(code="non_finite", detail="it burst"))
    found = await manifest_of(http, job_id)
    assert (found["status"], found["images"]) == ("failed", [])
    assert found["error"]["code"] == "non_finite"


async def test_it_outlives_the_images(http: AsyncClient, settings: ServiceSettings) -> None:
    job_id = await submit(http)
    brief = settings.model_copy(update={"result_ttl_s": 1e-6})
    store = RedisStore(brief)
    await draw(store)
    before = await manifest_of(http, job_id)
    while not (await store.sweep()).results_dropped:
        await asyncio.sleep(0.001)
    await store.close()
    assert (await http.get(f"/v1/jobs/{job_id}/images/0")).status_code == 410
    assert await manifest_of(http, job_id) == before


async def test_operators_alone_see_the_worker_s_name(keyed: Keyed, store: RedisStore) -> None:
    async with (
        await keyed.caller("a") as owner,
        await keyed.caller("b") as stranger,
        await keyed.caller("c", Scope.OPERATOR) as operator,
    ):
        job_id = await submit(owner)
        await draw(store)
        assert (await stranger.get(f"/v1/jobs/{job_id}/manifest")).status_code == 404
        seen = [await manifest_of(caller, job_id) for caller in (owner, operator)]
        alias, name = (each["images"][0]["origin"].pop("worker") for each in seen)
        assert (alias != name, name) == (True, "host-17")
        assert "tenant" not in seen[0]["request"]
        assert seen[0] == seen[1]
