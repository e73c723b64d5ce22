"""Health, readiness and figures, with Redis there and away."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from prometheus_client.openmetrics import parser as openmetrics_parser

from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.metrics.replica import DoorCounters
from service.processes.ports import free_port
from tests.jobs.examples import MODEL, claim, spec, work
from tests.redis_server import redis_server
from tests.service.doors import open_door, submit
from tests.service.worker import draw

WORKER = WorkerEntry("w1", "host", 7, "toy", "torch", 16, 0, 0.0, 1_700_000_000.0)


async def test_figures_are_read_from_the_store(http: AsyncClient, store: RedisStore) -> None:
    await store.announce_worker(replace(WORKER, jobs=3, rows_per_s=120.0, units_per_s=40.0))
    for _ in range(3):
        await submit(http)
    await draw(store)
    await claim(store)
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    for expected in (
        "sfumato_jobs_accepted_total 3.0",
        'sfumato_jobs_total{outcome="succeeded"} 1.0',
        'sfumato_jobs_total{outcome="failed"} 0.0',
        'sfumato_backlog_jobs{model="toy",state="queued"} 1.0',
        'sfumato_backlog_jobs{model="toy",state="running"} 1.0',
        'sfumato_backlog_units{model="toy",state="queued"} 10.0',
        'sfumato_workers{model="toy"} 1.0',
        'sfumato_rows_per_second{model="toy"} 120.0',
        'sfumato_backlog_seconds{model="toy"} 0.5',
        'sfumato_worker_units_per_second{model="toy"} 40.0',
        'sfumato_worker_cold_start_seconds{model="toy"} 0.0',
        'sfumato_job_failures_total{code="worker_died"} 0.0',
        "sfumato_webhooks_undelivered 0.0",
        'sfumato_job_seconds_bucket{le="+Inf",model="toy",outcome="succeeded"} 1.0',
        'sfumato_job_seconds_count{model="toy",outcome="canceled"} 0.0',
    ):
        assert expected in lines
    workers = (await http.get("/v1/workers")).json()
    assert workers == [
        {
            "id": "w1", "host": "host", "pid": 7, "model": "toy", "backend": "torch", "slots": 16,
            "jobs": 3, "rows_per_s": 120.0, "started_at": "2023-11-14T22:13:20Z", "draining": False,
            "loaded": True,
        }
    ]  # fmt: skip


async def test_eta_follows_from_measured_speed(http: AsyncClient, store: RedisStore) -> None:
    await store.announce_worker(replace(WORKER, rows_per_s=20.0))
    first = (await http.post("/v1/jobs", json={"prompt": "a"})).json()
    assert first["eta_s"] == pytest.approx(10 / 20)
    await asyncio.sleep(1.05)  # figures are read again after a second
    second = (await http.post("/v1/jobs", json={"prompt": "b"})).json()
    assert second["queue_position"] == 2
    assert second["eta_s"] == pytest.approx(20 / 20)


async def test_door_before_any_model(jobs_settings: JobsSettings) -> None:
    async with open_door(jobs_settings) as (app, http):
        assert (await http.get("/readyz")).json() == {"status": "ok", "models": 0, "workers": 0}
        refused = await http.post("/v1/jobs", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["code"]) == (503, "no_model")
        assert int(refused.headers["retry-after"]) > 0
        assert (await http.get("/v1/samplers")).json() == {"samplers": []}
        store: RedisStore = app.state.door.store
        await store.announce_model(MODEL)  # is known to the very next request
        assert (await http.post("/v1/jobs", json={"prompt": "a"})).status_code == 202


async def test_redis_away_is_503_and_accepted_jobs_are_kept(tmp_path: Path) -> None:
    port = free_port()
    settings = JobsSettings(redis_url=f"redis://127.0.0.1:{port}/0", key_prefix="away")
    with redis_server(tmp_path, port):
        async with open_door(settings) as (app, http):
            await app.state.door.store.announce_model(MODEL)
            job = f"/v1/jobs/{await submit(http)}"
    async with open_door(settings) as (_, http):
        for method, path in [
            ("GET", "/readyz"), ("GET", "/metrics"), ("GET", job), ("GET", f"{job}/events"),
            ("GET", "/v1/models"), ("DELETE", job), ("GET", "/v1/jobs"),
        ]:  # fmt: skip
            answer = await http.request(method, path)
            code = answer.json()["code"]
            assert (answer.status_code, code) == (503, "store_unavailable"), path
            assert int(answer.headers["retry-after"]) > 0
            assert str(port) not in answer.text
        refused = await http.post("/v1/jobs", json={"prompt": "a"})
        assert refused.status_code == 503
        assert (await http.get("/healthz")).status_code == 200
        with redis_server(tmp_path, port):
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get(job)).json()["status"] == "queued"


async def test_unforeseen_error_is_a_problem_with_its_id(app: FastAPI, http: AsyncClient) -> None:
    @app.get("/burst")
    async def burst() -> None:
        raise RuntimeError("a pipe burst")

    answer = await http.get("/burst", headers={"x-request-id": "abc"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc"
    assert "pipe" not in answer.text


async def test_requests_are_counted_with_bounded_labels(app: FastAPI, http: AsyncClient) -> None:
    counters: DoorCounters = app.state.door.counters
    for path in ("/v1/jobs/x", "/v1/jobs/y", "/nowhere/1", "/nowhere/2"):
        await http.get(path)
    await http.request("BREW", "/v1/jobs")
    value = counters.registry.get_sample_value

    def count(method: str, route: str, status: str) -> float | None:
        labels = {"method": method, "route": route, "status": status}
        return value("sfumato_http_requests_total", labels)

    assert count("GET", "/v1/jobs/{job_id}", "404") == 2
    assert count("GET", "none", "404") == 2
    assert count("other", "/v1/jobs", "405") == 1


async def test_refusals_are_counted_and_waits_not_timed(app: FastAPI, http: AsyncClient) -> None:
    value = app.state.door.counters.registry.get_sample_value
    assert value("sfumato_http_problems_total", {"code": "backlog_full"}) == 0
    await http.post("/v1/jobs", json={"prompt": "a", "unheard": "of"})
    await http.get("/v1/jobs/x")
    body = {"prompt": "a", "deadline_s": 0.05}
    expired = await http.post("/v1/jobs", json=body, headers={"prefer": "wait=60"})
    assert (expired.status_code, expired.json()["status"]) == (200, "expired")
    assert value("sfumato_http_problems_total", {"code": "invalid_request"}) == 1
    assert value("sfumato_http_problems_total", {"code": "not_found"}) == 1
    submits = {"method": "POST", "route": "/v1/jobs"}
    assert value("sfumato_http_requests_total", submits | {"status": "200"}) == 1
    assert value("sfumato_http_request_seconds_count", submits) == 1  # the refused one


async def test_openmetrics_shows_one_trace_a_bucket(http: AsyncClient, store: RedisStore) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    wanted = spec()
    parent = f"00-{trace}-b7ad6b7169203331-01"
    await store.create("a", wanted, work(wanted), traceparent=parent)
    await draw(store)
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = await http.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    parse: Any = openmetrics_parser.text_string_to_metric_families
    samples = [sample for family in parse(answer.text) for sample in family.samples]
    (exemplar,) = [sample.exemplar for sample in samples if sample.exemplar]
    assert exemplar.labels == {"trace_id": trace}
    assert trace not in (await http.get("/metrics")).text


async def test_full_store_is_503(jobs_settings: JobsSettings, announced: None) -> None:
    async with open_door(jobs_settings, memory_high_water_bytes=1) as (_, http):
        answer = await http.post("/v1/jobs", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_full")
        assert int(answer.headers["retry-after"]) > 0


async def test_counters_are_served_on_a_port_of_their_own(jobs_settings: JobsSettings) -> None:
    port = free_port()
    async with open_door(jobs_settings, door_metrics_port=port) as (_, http):
        await http.get("/healthz")
        async with AsyncClient(trust_env=False, timeout=60) as outside:
            figures = (await outside.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'sfumato_http_requests_total{method="GET",route="/healthz",status="200"} 1.0' in figures
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)


async def test_log_lines_carry_ids(http: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        answer = await http.post("/v1/jobs", json={"prompt": "a"}, headers={"x-request-id": "abc"})
    lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    logged = {line["event"]: line for line in lines}
    for event in ("job accepted", "request"):
        assert logged[event]["request_id"] == "abc"
        assert logged[event]["job_id"] == answer.json()["id"]


async def test_a_redis_that_begins_to_evict_makes_the_door_unready(
    http: AsyncClient, redis: Any
) -> None:
    await submit(http)
    redis.config_set("maxmemory-policy", "volatile-lru")
    try:
        async with asyncio.timeout(60):
            while (ready := await http.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.05)
        assert (ready.status_code, ready.json()["code"]) == (503, "store_evicts")
        assert "noeviction" in ready.json()["detail"]
        refused = await http.post("/v1/jobs", json={"prompt": "a red apple"})
        assert (refused.status_code, refused.json()["code"]) == (503, "store_evicts")
        assert refused.headers["retry-after"]
        assert "sfumato_store_evicts 1.0" in (await http.get("/metrics")).text.splitlines()
        assert len((await http.get("/v1/jobs")).json()["jobs"]) == 1
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    async with asyncio.timeout(60):
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
    await submit(http)
