"""Quotas and deadlines over HTTP, and the tenants' command line."""

import json

from httpx import AsyncClient

from jobs.redis.store import RedisStore
from jobs.tenants import TenantTerms
from tests.jobs.examples import worker
from tests.service.conftest import Command


async def test_a_quota_is_a_problem_that_names_it(http: AsyncClient, store: RedisStore) -> None:
    await store.tenants.set(TenantTerms(name="public", max_units=15.0))
    body = {"prompt": "a red apple", "num_inference_steps": 10}
    assert (await http.post("/v1/jobs", json=body)).status_code == 202
    refused = await http.post("/v1/jobs", json=body)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    problem = refused.json()
    assert (problem["code"], problem["quota_units"]) == ("quota_exceeded", 15.0)
    assert "15 units" in problem["detail"]
    larger = await http.post("/v1/jobs", json=body | {"num_images": 2})
    assert (larger.status_code, larger.json()["code"]) == (422, "larger_than_quota")


async def test_a_refused_deadline_has_the_earliest(http: AsyncClient, store: RedisStore) -> None:
    body = {"prompt": "a red apple", "num_inference_steps": 10, "deadline_s": 0.5}
    assert (await http.post("/v1/jobs", json=body)).status_code == 202  # no speed is known
    await store.announce_worker(worker(10.0))
    refused = await http.post("/v1/jobs", json=body)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "deadline_unmeetable"
    assert [error["field"] for error in problem["errors"]] == ["deadline_s"]
    assert problem["earliest_s"] >= 1.0
    again = await http.post("/v1/jobs", json=body | {"deadline_s": problem["earliest_s"] + 1})
    assert again.status_code == 202


def test_the_command_line_sets_lists_and_removes(command: Command) -> None:
    command("tenants", "set", "acme", "--weight", "3", "--max-units", "5000")
    (listed,) = json.loads(command("tenants", "list", "--json").output)
    assert (listed["name"], listed["weight"], listed["max_units"]) == ("acme", 3.0, 5000.0)
    assert "acme" in command("tenants", "list").output
    command("tenants", "set", "Not a name", code=2)
    command("tenants", "set", "acme", "--weight", "0", code=2)
    command("tenants", "remove", "acme")
    assert "no terms" in command("tenants", "remove", "acme", code=1).output
