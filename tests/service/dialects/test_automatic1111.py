"""AUTOMATIC1111's API, called by webuiapi, and raw."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from webuiapi import WebUIApi  # type: ignore[import-untyped]

from jobs.redis.store import RedisStore
from jobs.store import Claim, Progress
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.dialects.playing import drawing, png
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import advance, finish
from workers.runtime.image_file import encode

T = TypeVar("T")
BASE = "/sdapi/v1"


@dataclass
class Called:
    """webuiapi on a door, whose calls run in a thread."""

    url: str
    api: WebUIApi

    async def __call__(self, call: Callable[[WebUIApi], T]) -> T:
        """Return what a call returns."""
        return await asyncio.to_thread(call, self.api)

    async def aclose(self) -> None:
        """Release connections."""
        self.api.session.close()


@pytest.fixture
async def webui(settings: ServiceSettings, announced: None) -> AsyncIterator[Called]:
    """Return webuiapi on a door behind a socket."""
    with served(settings) as (url, _):
        api = await asyncio.to_thread(lambda: WebUIApi(baseurl=url + BASE, sampler="Euler"))
        async with aclosing(Called(url, api)) as called:
            yield called


async def test_images_come_back_with_what_made_them(webui: Called, store: RedisStore) -> None:
    picture = encode_with_text()
    async with drawing(store, lambda held: finish(store, held, picture)) as claimed:
        result = await webui(
            lambda api: api.txt2img(
                prompt="a (red:1.2) apple", negative_prompt="blurry", seed=5, steps=7,
                cfg_scale=2.5, width=64, height=64, batch_size=2, sampler_name="euler",
                scheduler="Karras",
            )
        )  # fmt: skip
    assert [image.size for image in result.images] == [(64, 64)] * 2
    assert result.info["seed"] == 5
    assert result.info["infotexts"][0].startswith("a red apple\n")
    assert result.parameters["prompt"] == "a (red:1.2) apple"
    spec = claimed[0].spec
    assert (spec.prompt, spec.sampler, spec.schedule) == ("a (red:1.2) apple", "euler", "karras")
    assert (spec.seed, spec.num_inference_steps, spec.guidance_scale) == (5, 7, 2.5)
    assert (spec.eta, spec.prompt_syntax) == (None, "a1111_mean")


def encode_with_text() -> bytes:
    values = {
        "prompt": "a red apple", "negative_prompt": "", "num_inference_steps": 7,
        "sampler": "euler", "schedule": "karras", "eta": None, "guidance_scale": 2.5,
        "guidance_rescale": 0.0, "seed": 5, "width": 64, "height": 64, "model": "toy",
        "model_sha256": "ab" * 32,
    }  # fmt: skip
    return encode(np.zeros((64, 64, 3), np.uint8), "png", values)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"sampler_name": "Eular"}, 404, "Sampler not found: 'Eular'; available: Euler"),
        ({"scheduler": "normal"}, 404, "Scheduler not found"),
        ({"enable_hr": True}, 422, "enable_hr is not supported"),
        ({"restore_faces": True}, 422, "restore_faces is not supported"),
        ({"styles": ["a"]}, 422, "styles is not supported"),
        ({"subseed_strength": 0.5}, 422, "subseed_strength is not supported"),
        ({"prompt": "a <lora:pixel:1>"}, 422, "<lora:pixel:1…> in prompt is not supported"),
        ({"width": 65}, 422, "width 65 is not a multiple of"),
        ({"batch_size": 99}, 422, "batch_size"),
        ({"cfg_scale": 99}, 422, "guidance_scale"),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, 422, "CLIP_stop_at_last_layers"),
        ({"override_settings": {"sd_model_checkpoint": "sdxl"}}, 422, "unknown model 'sdxl'"),
    ],
)
async def test_what_is_not_served_is_named(
    webui: Called, fields: dict[str, Any], status: int, said: str
) -> None:
    given = {"prompt": "a", "width": 64, "height": 64} | fields
    found, detail = await webui(lambda api: refusal(api, given))
    assert found == status
    assert said in detail


def refusal(api: WebUIApi, fields: dict[str, Any]) -> tuple[int, str]:
    """Return the status and the detail of a refusal; its traceback would hold a socket."""
    try:
        api.txt2img(**fields)
    except RuntimeError as error:
        status, text = error.args
        return status, json.loads(text)["detail"]
    raise AssertionError("not refused")


async def test_an_unknown_key_is_refused(webui: Called) -> None:
    async with httpx.AsyncClient(base_url=webui.url + BASE, timeout=60) as http:
        answer = await http.post("/txt2img", json={"prompt": "a", "controlnet_units": []})
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
        assert "controlnet_units: unknown field" in answer.json()["detail"]
        answer = await http.post("/img2img", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]) == (501, "not_supported")


async def test_samplers_are_known_in_every_spelling(webui: Called, store: RedisStore) -> None:
    for name, schedule in (("Euler", None), ("EULER", None), ("Euler Karras", "karras")):
        async with drawing(store, lambda held: finish(store, held, png())) as claimed:
            await webui(lambda api: api.txt2img(prompt="a", width=64, height=64, sampler_name=name))  # noqa: B023
        assert claimed[0].spec.sampler == "euler"
        assert schedule in (None, claimed[0].spec.schedule)
    named = await webui(lambda api: api.util_get_sampler_names())
    assert "Euler" in named
    assert "karras" in await webui(lambda api: api.util_get_scheduler_names())


async def test_progress_shows_the_estimate_and_interrupt_ends_with_it(
    webui: Called, store: RedisStore
) -> None:
    asked = asyncio.create_task(
        webui(lambda api: api.txt2img(prompt="a", width=64, height=64, steps=20))
    )
    while not (await store.backlog("toy")).pending_jobs:
        await asyncio.sleep(0.01)
    held: Claim = await claim(store)
    await advance(store, held, 5, preview=True)
    seen = await webui(lambda api: api.get_progress())
    assert seen["progress"] == pytest.approx(0.25)
    assert (seen["state"]["sampling_step"], seen["state"]["sampling_steps"]) == (5, 20)
    assert base64.b64decode(seen["current_image"]) == b"preview-5"
    await webui(lambda api: api.interrupt())
    units = held.record.units * 6 / 20
    done = await store.progress([Progress(held.lease, 6, units, 6, 1.0)])
    assert done.finishing == {held.record.id}
    await finish(store, held, png())
    result = await asked
    assert len(result.images) == 1
    idle = await webui(lambda api: api.get_progress())
    assert (idle["progress"], idle["state"]["job_count"]) == (0.0, 0)


async def test_an_interrupted_job_that_has_not_begun_has_no_image(
    webui: Called, store: RedisStore
) -> None:
    asked = asyncio.create_task(webui(lambda api: api.txt2img(prompt="a", width=64, height=64)))
    async with httpx.AsyncClient(base_url=webui.url, timeout=60) as http:
        other = (await http.post("/v1/jobs", json={"prompt": "another's"})).json()["id"]
        while (await store.backlog("toy")).pending_jobs < 2:
            await asyncio.sleep(0.01)
        await webui(lambda api: api.interrupt())
        assert (await asked).images == []
        assert (await http.get(f"/v1/jobs/{other}")).json()["status"] == "queued"


async def test_another_site_s_page_interrupts_nothing(webui: Called) -> None:
    async with httpx.AsyncClient(base_url=webui.url + BASE, timeout=60) as http:
        for route in ("/interrupt", "/skip"):
            answer = await http.post(route, headers={"origin": "https://shop.example"})
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden_origin")


async def test_what_was_not_looked_at_is_not_sent_back(webui: Called, store: RedisStore) -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    fields = {"prompt": "a", "width": 64, "height": 64, "hr_prompt": deep, "infotext": "\ud800"}
    async with (
        httpx.AsyncClient(base_url=webui.url + BASE, timeout=60) as http,
        drawing(store, lambda held: finish(store, held, png())),
    ):
        headers = {"content-type": "application/json"}
        answer = await http.post("/txt2img", content=json.dumps(fields), headers=headers)
    assert answer.status_code == 200, answer.text
    assert "hr_prompt" not in answer.json()["parameters"]


async def test_lists_and_options(webui: Called) -> None:
    assert await webui(lambda api: api.util_get_model_names()) == [
        (await webui(lambda api: api.get_options()))["sd_model_checkpoint"]
    ]
    await webui(lambda api: api.util_set_model("toy"))
    assert (await webui(lambda api: api.util_get_current_model())).startswith("toy [")
    assert "not supported" in str(await webui(lambda api: api.set_options({"clip_skip": 2})))
    for call in (
        WebUIApi.get_upscalers, WebUIApi.get_sd_vae, WebUIApi.get_loras, WebUIApi.get_hypernetworks,
        WebUIApi.get_face_restorers, WebUIApi.get_realesrgan_models, WebUIApi.get_prompt_styles,
    ):  # fmt: skip
        assert await webui(call) == []
    for call in (WebUIApi.get_cmd_flags, WebUIApi.get_memory, WebUIApi.refresh_checkpoints):
        assert await webui(call) == {}
    assert (await webui(WebUIApi.get_embeddings))["loaded"] == {}


def of_kind(kind: str, size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    out = BytesIO()
    Image.new("L", size).save(out, kind, **options)
    return out.getvalue()


def many_texts() -> bytes:
    info = PngInfo()
    for number in range(40):
        info.add_text(f"k{number}", "a" * 60_000, zip=True)
    return of_kind("PNG", pnginfo=info)


BROKEN = (
    b"no image", of_kind("PNG", (20_000, 20_000)), of_kind("ICO"), of_kind("DDS"), many_texts(),
)  # fmt: skip


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg", "avif"])
async def test_the_text_of_an_image_is_read(webui: Called, output_format: str) -> None:
    values = json.loads(Image.open(BytesIO(encode_with_text())).info["sfumato"])
    data = encode(np.zeros((64, 64, 3), np.uint8), output_format, values)
    async with httpx.AsyncClient(base_url=webui.url + BASE, timeout=60) as http:
        for prefix in ("", "data:image/png;base64,"):
            body = {"image": prefix + base64.b64encode(data).decode()}
            answer = await http.post("/png-info", json=body)
            assert answer.json()["info"].startswith("a red apple\nSteps: 7")
        for broken in ("", "!", *(base64.b64encode(each).decode() for each in BROKEN)):
            answer = await http.post("/png-info", json={"image": broken})
            assert answer.status_code == 422, broken


async def test_http_basic_s_password_is_a_key(keyed: Keyed) -> None:
    _, text = await keyed.keys.create("ann", frozenset([Scope.JOBS]))
    async with keyed.client(None) as http:
        answer = await http.get(f"{BASE}/sd-models", auth=("anybody", text))
        assert answer.status_code == 200
        assert (await http.get("/v1/jobs", auth=("anybody", text))).status_code == 200
        answer = await http.get(f"{BASE}/sd-models", auth=("anybody", "wrong"))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_key")
        assert "Basic" in answer.headers["www-authenticate"]
