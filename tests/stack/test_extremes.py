"""Extreme requests over HTTP: what is accepted comes back equal, is drawn, and breaks nothing."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from httpx import AsyncClient, Response

from jobs.schema import JobRequest
from jobs.settings import JobsSettings
from service.application import create_app
from service.settings import ServiceSettings
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.processes import PATIENCE_S
from tests.service.doors import client
from tests.stack.extremes import bodies, plain, values

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DRAWN_STEPS = 12
"""A job of more is canceled, not waited for."""
HEADERS = {"content-type": "application/json"}
REFUSALS = {400, 403, 404, 413, 422, 501}


@dataclass
class Stack:
    """A door in process, with a real worker behind it."""

    http: AsyncClient
    description: dict[str, Any]  # OpenAPI
    worker: Worker

    @property
    def schemas(self) -> dict[str, Any]:
        schemas: dict[str, Any] = self.description["components"]["schemas"]
        return schemas


@pytest.fixture
async def stack(jobs_settings: JobsSettings, tiny: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    jobs_settings = jobs_settings.model_copy(update={"lease_s": 60.0})  # nobody's end is awaited
    settings = ServiceSettings(
        **jobs_settings.model_dump(),
        webhook_networks=("127.0.0.0/8",),
        webhooks_at_once=0,
        max_stream_s=0.2,
        dialect_wait_s=1.0,
    )
    app = create_app(settings)
    worker = Worker(jobs_settings, tiny, "w", tmp_path / "worker.log")
    jobs = Client(jobs_settings)
    try:
        await jobs.workers({"w"})
        async with app.router.lifespan_context(app), client(app) as http:
            yield Stack(http, app.openapi(), worker)
    finally:
        worker.end()
        await jobs.close()
        print(worker.log.read_text()[-3000:])


async def test_what_is_accepted_comes_back_equal_and_harms_nobody(stack: Stack) -> None:
    texts = list(bodies(stack.schemas["JobRequest"], stack.schemas))
    accepted: list[tuple[str, str, str]] = []
    for name, text in texts:
        answer = await stack.http.post("/v1/jobs", content=text, headers=HEADERS)
        problem = explain(name, text, answer)
        assert answer.status_code == 202 or answer.status_code in REFUSALS, problem
        if answer.status_code != 202:
            assert answer.headers["content-type"] == "application/problem+json", problem
            assert len(answer.content) < 16_384, problem
            continue
        assert same(json.loads(text)[name], answer.json(), name), problem
        accepted.append((answer.json()["id"], name, text))
    assert len(accepted) > len(texts) / 8
    for job_id, name, text in accepted:
        await lives(stack.http, job_id, name, text)
    assert stack.worker.alive
    assert (await stack.http.get("/v1/jobs?limit=100")).json()["jobs"] == []


def explain(name: str, text: str, answer: Response) -> str:
    return f"{name}: {text[:200]!r} -> {answer.status_code} {answer.text[:400]}"


def same(sent: Any, job: dict[str, Any], name: str) -> bool:
    """Return whether a job's view holds the value that was sent; None stands for a default."""
    if sent is None or name == "durable":
        return True
    if name == "webhook":
        return bool(job["webhook"]["url"] == sent["url"])
    got = job["request"][name]
    if name == "preview":  # what it says in full
        sent, got = (
            JobRequest.model_validate({"prompt": "", name: v}).preview for v in (sent, got)
        )
    if isinstance(sent, float) and isinstance(got, float):
        return got == sent and math.copysign(1, got) == math.copysign(1, sent)
    return bool(got == sent)


async def lives(http: AsyncClient, job_id: str, name: str, text: str) -> None:
    """Follow a job to its end in every way that a client may, and delete it."""
    listed = await http.get("/v1/jobs?limit=100")
    assert listed.status_code == 200, explain(name, text, listed)
    assert listed.json()["unreadable"] == [], explain(name, text, listed)
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    request = job["request"]
    if request["num_inference_steps"] > DRAWN_STEPS or request["width"] * request["height"] > 2**16:
        await http.post(f"/v1/jobs/{job_id}/cancel")
    async with asyncio.timeout(PATIENCE_S):
        events = await http.get(f"/v1/jobs/{job_id}/events")
    assert events.status_code == 200, explain(name, text, events)
    assert same(json.loads(text)[name], (await http.get(f"/v1/jobs/{job_id}")).json(), name)
    ended = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert ended["status"] in ("succeeded", "canceled", "expired"), (text[:200], ended["error"])
    for image in ended["images"]:
        assert (await http.get(image["url"])).status_code == 200
    deleted = await http.delete(f"/v1/jobs/{job_id}")
    assert deleted.status_code == 204, explain(name, text, deleted)


@pytest.mark.full
async def test_no_parameter_and_no_body_of_any_route_is_a_server_error(stack: Stack) -> None:
    job = await stack.http.post("/v1/jobs", json={"prompt": "a", "num_inference_steps": 1000})
    tried = 0
    for path, routes in stack.description["paths"].items():
        for method, route in routes.items():
            for text, request in requests(method, path, route, stack.schemas, job.json()["id"]):
                answer = await stack.http.request(method, **request)
                assert answer.status_code < 500 or answer.status_code in (501, 503), (
                    method, path, text, answer.text[:300],
                )  # fmt: skip
                tried += 1
    assert tried > 500
    assert (await stack.http.get(f"/v1/jobs/{job.json()['id']}")).status_code in (200, 404)
    assert (await stack.http.get("/v1/jobs")).json()["unreadable"] == []


def requests(
    method: str, path: str, route: dict[str, Any], schemas: dict[str, Any], job_id: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield requests of a route with one parameter or member of its body at an extreme."""
    parameters = route.get("parameters", [])
    sane = {p["name"]: job_id if "job" in p["name"] else "0" for p in parameters}
    for parameter in parameters:
        name, where = parameter["name"], parameter["in"]
        for value in values(parameter["schema"], schemas, depth=1):
            if (text := plain(value)) is None or (where == "header" and name == "Prefer"):
                continue
            given = sane | ({name: quote(text, safe="")} if where == "path" else {})
            request: dict[str, Any] = {"url": path.format_map(given)}
            if where == "query":
                request["params"] = {name: text}
            if where == "header":
                request["headers"] = {name: text.encode()}
            yield f"{name}={text[:80]!r}", request
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    if path != "/v1/jobs" and "$ref" in body.get("schema", {}):
        schema = schemas[body["schema"]["$ref"].rpartition("/")[2]]
        for name, text in bodies(schema, schemas):
            url = path.format_map(sane)
            yield f"{name}: {text[:80]}", {"url": url, "content": text, "headers": HEADERS}
