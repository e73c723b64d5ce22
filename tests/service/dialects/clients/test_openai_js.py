"""OpenAI's Images API, called by OpenAI's own client for JavaScript."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from jobs.redis.store import RedisStore
from jobs.schema import JobSpec
from jobs.store import Claim
from service.settings import ServiceSettings
from tests.service.dialects.clients.programs import printed
from tests.service.dialects.playing import Act, drawing
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

pytestmark = [pytest.mark.clients, pytest.mark.needs("clients")]

CLIENT = """
import OpenAI, { toFile } from "openai"
const client = new OpenAI({ baseURL: "ADDRESS/v1", apiKey: "none", timeout: 60_000 })
const print = (value) => console.log(JSON.stringify(value))
"""
CAUGHT = """
const caught = async (call) => {
  try {
    return await call
  } catch (error) {
    const { status, param, code, type, requestID, message } = error
    return { name: error.constructor.name, status, param, code, type, requestID, message }
  }
}
"""


async def drawn(
    settings: ServiceSettings, store: RedisStore, calls: str, act: Act | None = None
) -> tuple[Any, JobSpec]:
    """Return what calls print for which a worker draws the one job, and that job's spec."""
    with served(settings) as (url, _):
        async with drawing(store, act or (lambda held: finish(store, held))) as claimed:
            answer = await printed("js", CLIENT + calls, url)
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            assert len((await http.get("/v1/jobs")).json()["jobs"]) == 1
    return answer, claimed[0].spec


@pytest.mark.quick
async def test_pictures_come_as_base64(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    answer, spec = await drawn(
        settings,
        store,
        """
        print(await client.images.generate({
          prompt: "a red apple", model: "toy", n: 2, size: "64x64", user: "ann",
          response_format: "b64_json", seed: 5, num_inference_steps: 7, negative_prompt: "blurry",
        }))
        """,
    )
    assert [base64.b64decode(each["b64_json"]) for each in answer["data"]] == [PNG, PNG]
    assert not any("url" in each for each in answer["data"])
    assert (answer["size"], answer["output_format"]) == ("64x64", "png")
    assert (spec.num_images, spec.seed, spec.num_inference_steps) == (2, 5, 7)
    assert (spec.negative_prompt, spec.metadata) == ("blurry", {"user": "ann"})


@pytest.mark.parametrize(
    ("wanted", "given"), [('response_format: "url"', {"url"}), ("", {"url", "b64_json"})]
)
async def test_pictures_come_as_links(
    settings: ServiceSettings, announced: None, store: RedisStore, wanted: str, given: set[str]
) -> None:
    answer, _ = await drawn(
        settings,
        store,
        f"""
        const {{ data: [image] }} = await client.images.generate({{ prompt: "a", {wanted} }})
        const opened = await fetch(image.url)
        print({{ image, opened: Buffer.from(await opened.arrayBuffer()).toString("base64") }})
        """,
    )
    assert set(answer["image"]) == given
    assert base64.b64decode(answer["opened"]) == PNG


async def test_estimates_come_before_the_image(
    settings: ServiceSettings, announced: None, store: RedisStore, tmp_path: Path
) -> None:
    shown = tmp_path / "shown"

    async def act(held: Claim) -> None:
        for step in range(1, held.record.total_steps):
            await advance(store, held, step, preview=step % held.record.spec.preview.every == 0)
        while not shown.exists():  # the job ends after they have come
            await asyncio.sleep(0.01)
        await finish(store, held)

    calls = f"""
    import {{ writeFileSync }} from "node:fs"
    const events = []
    for await (const event of await client.images.generate({{
      prompt: "a", stream: true, partial_images: 3, num_inference_steps: 12,
    }})) if (events.push(event) === 3) writeFileSync("{shown}", "")
    print(events)
    """
    events, spec = await drawn(settings, store, calls, act)
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert kinds == ["partial_image"] * 3 + ["completed"]
    assert [event["partial_image_index"] for event in events[:3]] == [0, 1, 2]
    assert len({event["b64_json"] for event in events}) == 4
    assert base64.b64decode(events[-1]["b64_json"]) == PNG
    assert events[-1]["usage"]["total_tokens"] == 0
    assert spec.preview.every == 3


async def test_an_answer_that_is_lost_leaves_one_job(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    """The client tries again by itself; ``drawn`` counts the jobs."""
    answer, _ = await drawn(
        settings,
        store,
        """
        const counts = []
        const losing = async (url, init) => {
          const answer = await fetch(url, init)
          counts.push(new Headers(init.headers).get("x-stainless-retry-count"))
          if (counts.length > 1) return answer
          await answer.arrayBuffer()
          throw new TypeError("fetch failed")
        }
        const unlucky = client.withOptions({ fetch: losing })
        print({ ...await unlucky.images.generate({ prompt: "a" }), counts })
        """,
    )
    assert answer["counts"] == ["0", "1"]
    assert len(answer["data"]) == 1


async def test_models_are_listed_and_found(settings: ServiceSettings, announced: None) -> None:
    calls = """
    const listed = []
    for await (const model of client.models.list()) listed.push(model.id)
    const found = (await client.models.retrieve("toy")).id
    print({ listed, found, other: await caught(client.models.retrieve("dall-e-3")) })
    """
    with served(settings) as (url, _):
        answer = await printed("js", CLIENT + CAUGHT + calls, url)
    assert (answer["listed"], answer["found"]) == (["toy"], "toy")
    assert (answer["other"]["name"], answer["other"]["code"]) == ("NotFoundError", "not_found")


async def test_what_is_wrong_is_named(settings: ServiceSettings, announced: None) -> None:
    calls = """
    const wrong = [
      { size: "65x64" }, { n: 11 }, { background: "transparent" }, { style: "vivid" },
      { model: "dall-e-3" }, { sampler: "eular" },
    ]
    const file = () => toFile(Buffer.from("a"), "a.png")
    print({
      fields: await Promise.all(
        wrong.map((fields) => caught(client.images.generate({ prompt: "a", ...fields })))
      ),
      edits: [
        await caught(client.images.edit({ prompt: "a", image: await file() })),
        await caught(client.images.createVariation({ image: await file() })),
      ],
    })
    """
    with served(settings) as (url, _):
        answer = await printed("js", CLIENT + CAUGHT + calls, url)
    params = ["size", "n", "background", "style", "model", "sampler"]
    assert [error["param"] for error in answer["fields"]] == params
    for error in answer["fields"] + answer["edits"]:
        assert (error["name"], error["type"]) == ("BadRequestError", "invalid_request_error")
        assert error["requestID"]
    for error in answer["edits"]:
        assert error["code"] == "not_supported"
        assert error["message"] == "400 images are generated from prompts only"
