"""HEAD: as GET, without the body, on every route."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import AsyncClient

from jobs.redis.store import RedisStore
from service.application import create_app
from service.settings import ServiceSettings
from tests.jobs.examples import BATCH, MODEL, claim, worker
from tests.service.doors import submit
from tests.service.worker import advance, finish

VOLATILE = {"x-request-id", "content-length"}
"""The length too: figures change between two requests, and a stream has none."""


def paths(app: FastAPI) -> list[str]:
    return sorted(
        {path for path, operations in app.openapi()["paths"].items() if "get" in operations}
        | {"/", "/page/app.js", "/openapi.json", "/docs"}
    )


PATHS = paths(create_app(ServiceSettings()))


def test_every_route_of_get_is_tried() -> None:
    assert len(PATHS) >= 12
    assert not [r for r in create_app(ServiceSettings()).routes if type(r) is APIRoute and not r]


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_the_body(
    http: AsyncClient, store: RedisStore, path: str
) -> None:
    job_id = await submit(http, on_disconnect="cancel")
    held = await claim(store)
    await advance(store, held, 3, preview=True)
    await finish(store, held)
    await store.announce_worker(worker(10.0))
    await store.publish_batch(BATCH)
    names = {"job_id": job_id, "index": "0", "owner": "sfumato", "model": "toy", "worker_id": "w"}
    names["version"] = MODEL.sha256
    url = re.sub(r"\{(\w+)\}", lambda match: names[match[1]], path)
    got, head = await http.get(url), await http.head(url)
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k not in VOLATILE} == {
        k: v for k, v in got.headers.items() if k not in VOLATILE
    }


async def test_head_of_what_is_not_there_is_404(http: AsyncClient) -> None:
    for path in ("/v1/jobs/nobody", "/v2"):
        answer = await http.head(path)
        assert (answer.status_code, answer.content) == (404, b"")


async def test_head_of_a_running_job_s_events_does_not_follow_it(
    http: AsyncClient, store: RedisStore
) -> None:
    job_id = await submit(http, on_disconnect="cancel")
    answer = await http.head(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (await store.get(job_id)).status == "queued"


async def test_head_is_counted_as_such(http: AsyncClient, app: FastAPI) -> None:
    await http.head("/v1/models")
    answer = await http.head("/v1/jobs")
    assert answer.status_code == 200
    wrong = await http.put("/v1/jobs")
    assert wrong.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("path", ["/v1/jobs/", "/v1/models/", "/healthz/", "/docs/x/", "/v2//"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_nothing_is_redirected(http: AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
