"""Quotas and deadlines over HTTP, and the tenants' command line."""

import json

import httpx
import pytest
from typer.testing import CliRunner

from jobs.redis_store import RedisStore
from jobs.settings import JobsSettings
from jobs.tenants import TenantTerms
from service.cli import app as cli
from tests.jobs.examples import worker


async def test_a_quota_is_a_problem_that_names_it(
    http: httpx.AsyncClient, redis_store: RedisStore
) -> None:
    await redis_store.tenants.set(TenantTerms(name="public", max_units=15.0))
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


async def test_a_deadline_that_cannot_be_met_is_told_when_it_could(
    http: httpx.AsyncClient, redis_store: RedisStore
) -> None:
    body = {"prompt": "a red apple", "num_inference_steps": 10, "deadline_s": 0.5}
    assert (await http.post("/v1/jobs", json=body)).status_code == 202  # no speed is known
    await redis_store.announce_worker(worker(10.0))
    refused = await http.post("/v1/jobs", json=body)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "deadline_unmeetable"
    assert [error["field"] for error in problem["errors"]] == ["deadline_s"]
    assert problem["earliest_s"] >= 1.0
    again = await http.post("/v1/jobs", json=body | {"deadline_s": problem["earliest_s"] + 1})
    assert again.status_code == 202


def test_the_command_line_sets_lists_and_removes(
    jobs_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_REDIS_URL", jobs_settings.redis_url)
    monkeypatch.setenv("SFUMATO_KEY_PREFIX", jobs_settings.key_prefix)
    run = CliRunner().invoke
    made = run(cli, ["tenants", "set", "acme", "--weight", "3", "--max-units", "5000"])
    assert made.exit_code == 0, made.output
    (listed,) = json.loads(run(cli, ["tenants", "list", "--json"]).output)
    assert (listed["name"], listed["weight"], listed["max_units"]) == ("acme", 3.0, 5000.0)
    assert "acme" in run(cli, ["tenants", "list"]).output
    assert run(cli, ["tenants", "set", "Not a name"]).exit_code == 2
    assert run(cli, ["tenants", "set", "acme", "--weight", "0"]).exit_code == 2
    assert run(cli, ["tenants", "remove", "acme"]).exit_code == 0
    gone = run(cli, ["tenants", "remove", "acme"])
    assert gone.exit_code == 1
    assert "no terms" in gone.output
