"""Submitting, looking, listing, cancelling, deleting; what is refused and how."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from redis import Redis

from jobs.redis.store import RedisStore
from jobs.schema import MAX_SEED, JobError
from tests.jobs.examples import claim, picture
from tests.service.doors import submit
from tests.service.worker import PNG, advance, draw, finish

APPLE = {"prompt": "a red apple"}
JSON = {"content-type": "application/json"}


async def backlog(store: RedisStore) -> int:
    return (await store.backlog("toy")).pending_jobs


async def test_submitted_job_has_every_default(http: AsyncClient, store: RedisStore) -> None:
    answer = await http.post("/v1/jobs", json={"prompt": "a red apple", "metadata": {"a": "b"}})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"]
    # No worker has announced its speed.
    assert (job["status"], job["queue_position"], job["eta_s"]) == ("queued", 1, None)
    expected = {"sampler": "euler", "num_inference_steps": 10, "metadata": {"a": "b"}}
    assert job["request"] == job["request"] | expected
    assert isinstance(job["request"]["seed"], int)
    assert job["created_at"].endswith("Z")
    assert await backlog(store) == 1


async def test_finished_job_has_images_and_timings(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http, num_images=2)
    await draw(store)
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert job["status"] == "succeeded"
    assert job["progress"] == {"step": 20, "total": 20, "fraction": 1.0}
    urls = [image["url"] for image in job["images"]]
    assert urls == [f"/v1/jobs/{job_id}/images/{index}" for index in (0, 1)]
    assert job["timings"]["evaluations"] == 20
    assert job["timings"]["queued_s"] >= 0
    assert (await http.get(urls[1])).content == PNG


async def test_prefer_wait_answers_200_at_the_end(http: AsyncClient, store: RedisStore) -> None:
    async def worker() -> None:
        while await backlog(store) == 0:
            await asyncio.sleep(0.01)
        await draw(store)

    playing = asyncio.create_task(worker())
    answer = await http.post("/v1/jobs", json=APPLE, headers={"prefer": "wait=60"})
    await playing
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("waits", "on_disconnect", "status"),
    [(True, "cancel", "canceled"), (True, "continue", "queued"), (False, "cancel", "queued")],
)
async def test_a_waiting_client_may_leave_before_its_job_s_id_is_known(
    app: FastAPI,
    http: AsyncClient,
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    waits: bool,
    on_disconnect: str,
    status: str,
) -> None:
    rung = asyncio.Event()

    async def ring(model: str, job_id: str) -> None:
        rung.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(app.state.door.doorbell, "ring", ring)
    body = APPLE | {"on_disconnect": on_disconnect}
    headers = {"prefer": "wait=60"} if waits else {}
    posting = asyncio.create_task(http.post("/v1/jobs", json=body, headers=headers))
    async with asyncio.timeout(60):
        await rung.wait()
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        while app.state.door.tasks:
            await asyncio.sleep(0.01)
    (job,) = (await http.get("/v1/jobs")).json()["jobs"]
    assert job["status"] == status


async def test_prefer_wait_answers_202_when_time_is_up(http: AsyncClient) -> None:
    headers = {"prefer": "respond-async, wait=0"}
    answer = await http.post("/v1/jobs", json=APPLE, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=0"


async def test_same_key_and_body_give_the_same_job(http: AsyncClient, store: RedisStore) -> None:
    headers = {"idempotency-key": '"8e03978e-40d5-43dd"'}
    body = APPLE | {"seed": 3}
    first = await http.post("/v1/jobs", json=body, headers=headers)
    again = await http.post(
        "/v1/jobs", content=b'{"seed": 3,  "prompt": "a red apple"}',
        headers=headers | {"content-type": "application/json; charset=utf-8"},
    )  # fmt: skip
    bare = await http.post("/v1/jobs", json=body, headers={"idempotency-key": "8e03978e-40d5-43dd"})
    assert again.status_code == bare.status_code == 202
    assert first.json()["id"] == again.json()["id"] == bare.json()["id"]
    assert await backlog(store) == 1


@pytest.mark.parametrize("key", ["", '""', '"open', "with space", '"' + "k" * 256 + '"', 'a"b'])
async def test_malformed_key_is_400(http: AsyncClient, store: RedisStore, key: str) -> None:
    answer = await http.post("/v1/jobs", json=APPLE, headers={"idempotency-key": key})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await backlog(store) == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"webhook_url": "https://example.org"}, "webhook_url"),
        ({"sampler": "eular"}, "sampler"),
        ({"schedule": "linear"}, "schedule"),
        ({"model": "sdxl"}, "model"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 1001}, "num_inference_steps"),
        ({"num_inference_steps": "20"}, "num_inference_steps"),
        ({"guidance_scale": math.nan}, "guidance_scale"),
        ({"guidance_scale": math.inf}, "guidance_scale"),
        ({"prompt": "a" * 100_000}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"width": 63}, "width"),
        ({"seed": 2**63}, "seed"),
        ({"num_images": 17}, "num_images"),
        ({"priority": "urgent"}, "priority"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"\ud800": "x"}}, "metadata"),
        ({"deadline_s": -1}, "deadline_s"),
    ],
)
async def test_bad_field_is_422_and_named(
    http: AsyncClient, store: RedisStore, fields: dict[str, object], named: str
) -> None:
    answer = await http.post("/v1/jobs", content=json.dumps(APPLE | fields), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["instance"]) == (422, "/v1/jobs")
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["errors"][0]["field"].startswith(named)
    assert len(answer.content) < 2000
    assert await backlog(store) == 0


async def test_seeds_past_the_last_one_name_both_fields(http: AsyncClient) -> None:
    body = APPLE | {"seed": MAX_SEED, "num_images": 2}
    problem = (await http.post("/v1/jobs", json=body)).json()
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == ["seed", "num_images"]
    drawn = (await http.post("/v1/jobs", json=APPLE | {"num_images": 16})).json()
    assert drawn["request"]["seed"] + 15 < 2**32


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_request"),
        (b'{"prompt": "\xff"}', "application/json", 400, "malformed_request"),
        (b"[" * 100_000, "application/json", 400, "malformed_request"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "application/json", 400, "malformed_request"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b"", "application/json", 422, "invalid_request"),
        (b'{"prompt": "a"}', "text/plain", 415, "unsupported_media_type"),
        (b"prompt=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"prompt": "a"}', None, 415, "unsupported_media_type"),
        (b" " * (1024 * 1024 + 1), "application/json", 413, "body_too_large"),
    ],
)
async def test_unreadable_body_is_refused(
    http: AsyncClient, store: RedisStore,
    content: bytes, content_type: str | None, status: int, code: str,
) -> None:  # fmt: skip
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await http.post("/v1/jobs", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert await backlog(store) == 0


async def test_body_of_unannounced_length_is_bounded_too(http: AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    answer = await http.post("/v1/jobs", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_unknown_path_and_method_are_problems(http: AsyncClient) -> None:
    missing = await http.get("/v2/jobs")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    wrong = await http.put("/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    other = await http.put("/v1/jobs/x")
    assert other.headers["allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize("job_id", ["nobody", "a:b", "é", "x" * 200])
async def test_unknown_job_is_404(http: AsyncClient, job_id: str) -> None:
    for method, tail in [
        ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/preview"),
        ("GET", "/images/0"), ("GET", "/manifest"),
    ]:  # fmt: skip
        answer = await http.request(method, f"/v1/jobs/{job_id}{tail}")
        assert answer.status_code == 404, (method, tail, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_cancel_ends_a_job_and_is_repeatable(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    canceled = await http.post(f"/v1/jobs/{job_id}/cancel")
    assert canceled.json()["status"] == "canceled"
    again = await http.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")


async def test_list_pages_newest_first(http: AsyncClient, store: RedisStore) -> None:
    ids = [await submit(http) for _ in range(5)]
    page = (await http.get("/v1/jobs?limit=2")).json()
    await submit(http)  # is on no later page
    seen = [job["id"] for job in page["jobs"]]
    while page["cursor"]:
        params = {"limit": "2", "cursor": page["cursor"]}
        page = (await http.get("/v1/jobs", params=params)).json()
        seen += [job["id"] for job in page["jobs"]]
    assert seen == ids[::-1]
    await store.cancel(ids[0])
    only = (await http.get("/v1/jobs", params={"status": "canceled"})).json()
    assert [job["id"] for job in only["jobs"]] == [ids[0]]


@pytest.mark.parametrize(
    ("params", "status"),
    [({"cursor": "x"}, 400), ({"limit": "0"}, 422), ({"limit": "a"}, 422), ({"status": "x"}, 422)],
)
async def test_bad_list_page_is_refused(
    http: AsyncClient, params: dict[str, str], status: int
) -> None:
    answer = await http.get("/v1/jobs", params=params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_failed_job_has_a_problem(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    held = await claim(store)
    await store.fail(held.lease, JobError(code="non_finite", detail="it burst"))
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    error = job["error"]
    assert (job["status"], error["code"], error["detail"]) == ("failed", "non_finite", "it burst")


async def test_image_can_be_revalidated(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    held = await claim(store)
    image = f"/v1/jobs/{job_id}/images/0"
    early = await http.get(image)
    assert early.status_code == 404
    assert early.json()["detail"] == f"job {job_id} has no image 0"
    await advance(store, held, 3, preview=True)
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    preview = await http.get(job["preview_url"])
    assert preview.content == b"preview-3"
    assert preview.headers["cache-control"] == "no-store"
    await finish(store, held)
    whole = await http.get(image)
    assert whole.headers["content-type"] == "image/png"
    same = await http.get(image, headers={"if-none-match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert (await http.get(image, headers={"if-none-match": '"x"'})).status_code == 200
    assert (await http.get(f"/v1/jobs/{job_id}/images/99")).status_code == 422


async def test_a_copy_that_is_current_costs_no_picture(
    http: AsyncClient, store: RedisStore, redis: Redis, prefix: str
) -> None:
    job_id = await submit(http)
    held = await claim(store)
    image, digest = f"/v1/jobs/{job_id}/images/0", sha256(PNG).hexdigest()
    kept = picture(0, PNG)
    record = kept.record.model_copy(update={"sha256": digest})
    await store.add_image(held.lease, replace(kept, record=record))
    await store.finish(held.lease, 10)
    whole = await http.get(image)
    assert whole.headers["etag"] == f'"{digest[:32]}"'
    for key in redis.scan_iter(f"{prefix}:image:*"):
        redis.rename(key, f"{prefix}:elsewhere")
    same = await http.get(image, headers={"if-none-match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == whole.headers["etag"]
    assert same.headers["cache-control"] == whole.headers["cache-control"]
    assert (await http.get(image, headers={"if-none-match": '"x"'})).status_code == 410
    redis.hset(f"{prefix}:job:{job_id}", "results_dropped", "1")
    gone = await http.get(image, headers={"if-none-match": whole.headers["etag"]})
    assert gone.status_code == 410


async def test_request_id_is_kept_when_it_is_sane(http: AsyncClient) -> None:
    kept = await http.get("/healthz", headers={"x-request-id": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    replaced = await http.get("/healthz", headers={"x-request-id": "a b\tc"})
    assert replaced.headers["x-request-id"] != "a b\tc"


async def test_job_of_a_newer_version_is_left_alone(
    http: AsyncClient, redis: Any, prefix: str
) -> None:
    job_id = await submit(http)
    redis.hset(f"{prefix}:job:{job_id}", "schema_version", 99)
    for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        answer = await http.request(method, f"/v1/jobs/{job_id}{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "newer_version")
        assert answer.headers["retry-after"] == "2"
    assert (await http.get("/v1/jobs")).json()["jobs"] == []
