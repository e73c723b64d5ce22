"""Replicate's API, called by Replicate's own client for JavaScript."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from jobs.redis.store import RedisStore
from jobs.store import Claim
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL
from tests.service.dialects.clients.programs import printed
from tests.service.dialects.playing import drawing
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

pytestmark = [pytest.mark.clients, pytest.mark.needs("clients")]

CLIENT = """
import Replicate from "replicate"
const client = new Replicate({ auth: "none", baseUrl: "ADDRESS/v1" })
const print = (value) => console.log(JSON.stringify(value))
const read = async (file) => Buffer.from(await (await file.blob()).arrayBuffer()).toString("base64")
const input = { prompt: "a red apple", seed: 5, num_inference_steps: 8 }
"""


@pytest.mark.parametrize("wait", ["undefined", '{ mode: "poll", interval: 50 }'])
@pytest.mark.parametrize("reference", ["sfumato/toy", f"sfumato/toy:{MODEL.sha256}"])
async def test_a_model_is_run(
    settings: ServiceSettings, announced: None, store: RedisStore, reference: str, wait: str
) -> None:
    calls = f"""
    const fields = {{ input: {{ ...input, num_outputs: 2 }}, wait: {wait} }}
    const files = await client.run("{reference}", fields)
    print(await Promise.all(files.map(read)))
    """
    with served(settings) as (url, _):
        async with drawing(store, lambda held: finish(store, held)) as claimed:
            files = await printed("js", CLIENT + calls, url)
    assert [base64.b64decode(file) for file in files] == [PNG, PNG]
    spec = claimed[0].spec
    assert (spec.prompt, spec.seed, spec.num_inference_steps) == ("a red apple", 5, 8)


async def test_a_stream_has_progress_and_then_the_image(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async def act(held: Claim) -> None:
        await advance(store, held, 4)
        await finish(store, held)

    calls = """
    const events = []
    for await (const event of client.stream("sfumato/toy", { input })) events.push(event)
    print(events.map(({ event, data }) => [event, data]))
    """
    with served(settings) as (url, _):
        async with drawing(store, act):
            *logs, output, done = await printed("js", CLIENT + calls, url)
    assert [kind for kind, _ in logs] == ["logs", "logs"]
    assert "4/8" in logs[-1][1]
    assert output == ["output", f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]
    assert done[0] == "done"


async def test_a_prediction_is_found_listed_and_canceled(
    settings: ServiceSettings, announced: None
) -> None:
    calls = """
    const { id, status } = await client.predictions.create({ model: "sfumato/toy", input })
    const found = await client.predictions.get(id)
    const listed = (await client.predictions.list()).results.map((each) => each.id)
    print([id, status, found.status, listed, (await client.predictions.cancel(id)).status])
    """
    with served(settings) as (url, _):
        made, status, found, listed, ended = await printed("js", CLIENT + calls, url)
    assert (status, found, listed, ended) == ("starting", "starting", [made], "canceled")


@pytest.mark.quick
async def test_what_is_wrong_is_named(settings: ServiceSettings, announced: None) -> None:
    calls = """
    const caught = (reference, fields) =>
      client.run(reference, { input: { ...input, ...fields } }).catch((error) => error.message)
    print(await Promise.all([
      caught("sfumato/joy"), caught("sfumato/toy", { width: 65 }),
      caught("sfumato/toy", { aspect_ratio: "1:1" }),
    ]))
    """
    with served(settings) as (url, _):
        model, size, field = await printed("js", CLIENT + calls, url)
    assert "status 404" in model
    assert "no model sfumato/joy; available: sfumato/toy" in model
    assert "status 422" in size
    assert "width 65 is not a multiple of" in size
    assert "input.aspect_ratio: unknown field" in field


async def test_its_own_retry_goes_on_with_the_job(
    settings: ServiceSettings,
    announced: None,
    store: RedisStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its connection breaks while it waits, and it is back before the door notices.

    The job ends once the second request has been answered, too.
    """
    monkeypatch.setattr("service.dialects.retries.NOTICE_S", 60.0)  # on a busy machine
    answered = tmp_path / "answered"

    async def act(held: Claim) -> None:
        while not answered.exists():
            await asyncio.sleep(0.01)
        await finish(store, held)

    calls = f"""
    import {{ writeFileSync }} from "node:fs"
    import {{ setTimeout as pause }} from "node:timers/promises"
    const jobs = async () => (await (await fetch("ADDRESS/v1/jobs")).json()).jobs
    let tries = 0
    client.fetch = async (url, init) => {{
      if (init?.method === "GET") writeFileSync("{answered}", "")
      if (init?.method !== "POST" || ++tries > 1) return fetch(url, init)
      const controller = new AbortController()
      const sent = fetch(url, {{ ...init, signal: controller.signal }})
      while (!(await jobs()).length) await pause(20)
      controller.abort()
      return sent
    }}
    const wait = {{ mode: "block", timeout: 3 }}
    const [file] = await client.run("sfumato/toy", {{ input, wait }})
    print([await read(file), tries])
    """
    with served(settings) as (url, _):
        async with drawing(store, act) as claimed:
            file, tries = await printed("js", CLIENT + calls, url)
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            (job,) = (await http.get("/v1/jobs")).json()["jobs"]
    assert (base64.b64decode(file), tries, job["id"]) == (PNG, 2, claimed[0].id)
