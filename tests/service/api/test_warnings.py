"""What a job's client is warned of, from the door and from the worker."""

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

import service
from jobs.errors import StaleFence
from jobs.redis.store import RedisStore
from jobs.schema import JobWarning, WarningCode
from jobs.store import Lease
from service.cli import drawing
from service.resources.links import Links
from service.resources.representations import JobView, job_view
from service.webhooks.delivery import message
from tests.jobs.examples import claim, submit
from tests.service.worker import finish

BODY = {"prompt": "a red apple", "negative_prompt": "blurry", "guidance_scale": 1}
CUT = JobWarning(code=WarningCode.PROMPT_TRUNCATED, detail="text_encoder read 75 of the 80 tokens")


async def test_the_job_carries_what_door_and_worker_found(
    http: AsyncClient, store: RedisStore
) -> None:
    job = (await http.post("/v1/jobs", json=BODY)).json()
    assert [warning["code"] for warning in job["warnings"]] == ["negative_prompt_ignored"]
    held = await claim(store)
    await store.warn(held.lease, [CUT])
    await store.warn(held.lease, [CUT])  # as after an answer that was lost
    record = await finish(store, held)
    expected = [*job["warnings"], {"code": CUT.code, "detail": CUT.detail}]
    assert (await http.get(f"/v1/jobs/{job['id']}")).json()["warnings"] == expected
    assert (await http.get("/v1/jobs")).json()["jobs"][0]["warnings"] == expected
    events = (await http.get(f"/v1/jobs/{job['id']}/events")).text
    assert CUT.detail in events.split("event: result")[1]
    assert CUT.detail.encode() in message(record, Links())


async def test_only_the_jobs_worker_warns(store: RedisStore) -> None:
    await submit(store, "a")
    held = await claim(store)
    with pytest.raises(StaleFence):
        await store.warn(Lease("a", "toy", "w", "0-another"), [CUT])
    assert held.record.warnings == (await store.get("a")).warnings == ()


def test_a_newer_versions_code_and_a_former_doors_job_are_read() -> None:
    assert JobWarning(code="not_known_yet", detail="…").code == "not_known_yet"
    assert "warnings" not in JobView.model_json_schema()["required"]


def test_every_code_is_documented(app: FastAPI) -> None:
    codes = {code.value for code in WarningCode}
    view = app.openapi()["components"]["schemas"]["WarningView"]
    assert set(view["properties"]["code"]["enum"]) == codes
    page = (Path(service.__file__).parent.parent / "docs" / "warnings.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == codes


async def test_draw_prints_them_as_they_are(
    store: RedisStore, capsys: pytest.CaptureFixture[str]
) -> None:
    await submit(store, "a")
    await store.warn((await claim(store)).lease, [CUT.model_copy(update={"detail": "[/b] cut"})])
    view = job_view(await store.get("a"), Links())
    drawing.warn([drawing.Drawing(None, view)])  # type: ignore[arg-type]
    assert "[/b] cut (prompt_truncated)" in capsys.readouterr().err
