"""Rate limits: by key, tenant, address and link, with their headers."""

import asyncio
from time import monotonic, time
from typing import Any

import pytest
from httpx import AsyncClient

from jobs.settings import JobsSettings
from service.auth import api_key
from service.auth.rate_limit import Bucket, RateLimiter
from service.auth.scope import Scope
from tests.conftest import Opened
from tests.service.doors import client, open_door
from tests.service.keyed import keyed_door

FIGURES = ("/metrics", "/v1/workers", "/v1/scaling/toy", "/v1/scaling/new?unannounced_s=30")
"""What an autoscaler and Prometheus read."""


async def statuses(http: AsyncClient, path: str, count: int = 3) -> list[int]:
    return [(await http.get(path)).status_code for _ in range(count)]


@pytest.fixture
async def limiter(jobs_settings: JobsSettings, opened: Opened[RateLimiter]) -> RateLimiter:
    return opened(RateLimiter(jobs_settings))


async def test_a_bucket_gives_its_number_at_once(limiter: RateLimiter) -> None:
    bucket = Bucket("key", "a", 10, 2000.0)
    outcomes = await asyncio.gather(*(limiter.take([bucket]) for _ in range(30)))
    assert sum(taken for taken, _ in outcomes) == 10
    taken, (level,) = await limiter.take([bucket])
    assert (taken, level.left) == (False, 0)
    assert 0 < level.wait_s <= 200
    assert 1500 < level.full_s <= 2000


async def test_a_bucket_refills_evenly(limiter: RateLimiter) -> None:
    bucket = Bucket("key", "a", 10, 1.0)
    began, taken = monotonic(), 0
    async with asyncio.timeout(60):
        while taken < 13:
            taken += (await limiter.take([bucket]))[0]
            assert taken <= 10 + (monotonic() - began) / 0.1 + 0.1


async def test_a_clock_that_is_set_back_keeps_nobody_out(
    limiter: RateLimiter, redis: Any, jobs_settings: JobsSettings
) -> None:
    bucket = Bucket("key", "a", 1, 600.0)
    assert (await limiter.take([bucket]))[0]
    (name,) = redis.keys(f"*{jobs_settings.key_prefix}*:rate:*")
    redis.set(name, time() + 3600)  # what an hour back makes of it
    _, (level,) = await limiter.take([bucket])
    assert level.wait_s <= 600.0


async def test_a_request_is_taken_from_all_buckets_or_from_none(limiter: RateLimiter) -> None:
    wide, narrow = Bucket("key", "b", 100, 600.0), Bucket("tenant", "t", 1, 600.0)
    assert (await limiter.take([wide, narrow]))[0]
    for _ in range(5):
        taken, levels = await limiter.take([wide, narrow])
        assert not taken
        assert [level.left for level in levels] == [99, 0]


async def test_a_key_over_its_limit_gets_retry_after(jobs_settings: JobsSettings) -> None:
    limits = {"rate_limit": 3, "tenant_rate_limit": 5, "rate_window_s": 600}
    async with (
        keyed_door(jobs_settings, **limits) as door,
        await door.caller("a") as first,
        await door.caller("a") as second,
        await door.caller("b") as other,
        await door.caller("a", Scope.OPERATOR) as operator,
    ):
        for left in (2, 1, 0):
            answer = await first.get("/v1/jobs")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"key";q=3;w=600, "tenant";q=5;w=600'
            assert answer.headers["ratelimit"].startswith(f'"key";r={left};t=')
        refused = await first.get("/v1/jobs")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 200
        assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
        codes = await statuses(second, "/v1/jobs")
        assert codes == [200, 200, 429]  # the tenant's five are used up
        assert (await other.get("/v1/jobs")).status_code == 200
        assert await statuses(operator, "/v1/jobs", 10) == [200] * 10


async def test_a_key_may_have_a_limit_of_its_own(jobs_settings: JobsSettings) -> None:
    async with keyed_door(jobs_settings, rate_limit=1) as door:
        _, text = await door.keys.create("a", frozenset({Scope.JOBS}), rate_limit=50)
        async with door.client(text) as http:
            answer = await http.get("/v1/jobs")
    assert answer.headers["ratelimit-policy"] == '"key";q=50;w=60'


async def test_links_are_counted_by_job_and_strangers_by_address(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with (
        keyed_door(jobs_settings, rate_limit=2, rate_window_s=600) as door,
        await door.caller("a") as owner,
        door.client(None) as anyone,
    ):
        link = (await owner.post("/v1/jobs", json={"prompt": "a"})).json()["events_url"]
        await owner.delete(link.rpartition("/events")[0])
        assert await statuses(anyone, link) == [404, 404, 429]
    async with open_door(jobs_settings, rate_limit=2, rate_window_s=600) as (app, _):
        for address in ("192.0.2.1", "192.0.2.2"):
            async with client(app, address=address) as http:
                assert await statuses(http, "/v1/models") == [200, 200, 429]
                assert (await http.get("/healthz")).status_code == 200


async def test_calls_without_a_key_are_counted_by_address(jobs_settings: JobsSettings) -> None:
    async with (
        keyed_door(jobs_settings, rate_limit=2, rate_window_s=600) as door,
        await door.caller("a") as good,
        door.client(api_key.text_of(api_key.new_id(), api_key.new_secret())) as unknown,
        door.client(None) as keyless,
    ):
        clients = (unknown, keyless, unknown, keyless)
        codes = [(await client.get("/v1/jobs")).status_code for client in clients]
        assert codes == [401, 401, 429, 429]
        assert (await good.get("/v1/jobs")).status_code == 200


async def test_a_reader_of_figures_is_never_counted(
    jobs_settings: JobsSettings, announced: None
) -> None:
    limits = {"rate_limit": 2, "tenant_rate_limit": 2, "rate_window_s": 600}
    async with (
        keyed_door(jobs_settings, **limits) as door,
        await door.caller("ops", Scope.METRICS) as metrics,
        await door.caller("ops", Scope.METRICS, Scope.JOBS) as both,
        await door.caller("a", Scope.JOBS) as jobs,
        door.client(None) as keyless,
    ):
        for path in FIGURES:
            for _ in range(3):
                answer = await metrics.get(path)
                assert answer.status_code == 200
                assert "ratelimit" not in answer.headers
        codes = await statuses(both, "/v1/jobs")
        assert codes == [200, 200, 429], "the tenant's requests were all there"
        assert (await both.get("/metrics")).status_code == 200
        codes = await statuses(jobs, "/metrics")
        assert codes == [403, 403, 429], "a key without the scope is counted"
        assert await statuses(keyless, "/metrics") == [401, 401, 429]


async def test_figures_are_not_counted_where_no_keys_are_asked_for(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with open_door(jobs_settings, rate_limit=2, rate_window_s=600) as (_, http):
        for _ in range(2):  # before and after the address has used up what it has
            for path in FIGURES:
                assert await statuses(http, path) == [200, 200, 200]
            codes = await statuses(http, "/v1/models")
            assert codes[-1] == 429
        assert codes == [429, 429, 429]


async def test_nothing_is_refused_for_want_of_a_count(jobs_settings: JobsSettings) -> None:
    away = jobs_settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    async with open_door(away, rate_limit=1) as (_, http):
        assert await statuses(http, "/v1/jobs", 2) == [503, 503]
