"""OpenAI's Images API, called by litellm."""

import base64

import pytest

from jobs.redis.store import RedisStore
from service.settings import ServiceSettings
from tests.service.dialects.clients.programs import TIMEOUT_S, printed
from tests.service.dialects.playing import drawing
from tests.service.served import served
from tests.service.worker import PNG, finish

pytestmark = [pytest.mark.clients, pytest.mark.needs("clients")]

CLIENT = """
import asyncio, json, litellm

toy = {"model": "openai/toy", "api_base": "ADDRESS/v1", "api_key": "none", "timeout": 60}
"""
WRONG = """
def caught(call, **options):
    try:
        call(prompt="a", **(toy | options))
    except Exception as error:
        return [type(error).__name__, error.status_code, str(error)]

print(json.dumps([
    caught(litellm.image_generation, size="65x64"),
    caught(litellm.image_generation, model="openai/dall-e-3"),
    caught(litellm.image_generation, response_format="url"),
    caught(litellm.image_edit, image=b"a"),
]))
"""


@pytest.mark.parametrize(
    "call",
    ["litellm.image_generation(**fields)", "asyncio.run(litellm.aimage_generation(**fields))"],
)
async def test_pictures_come_in_both_forms(
    settings: ServiceSettings, announced: None, store: RedisStore, call: str
) -> None:
    fields = {
        "prompt": "a red apple", "n": 2, "size": "64x64", "quality": "low", "user": "ann",
        "extra_body": {"seed": 5}, "negative_prompt": "blurry",
    }  # fmt: skip
    program = f"{CLIENT}\nfields = toy | {fields}\nprint({call}.model_dump_json())"
    with served(settings) as (url, _):
        async with drawing(store, lambda held: finish(store, held), TIMEOUT_S) as claimed:
            answer = await printed("python", program, url)
    assert [base64.b64decode(each["b64_json"]) for each in answer["data"]] == [PNG, PNG]
    links = [each["url"] for each in answer["data"]]
    assert links == [f"{url}/v1/jobs/{claimed[0].id}/images/{index}" for index in range(2)]
    spec = claimed[0].spec
    assert (spec.num_images, spec.seed, spec.num_inference_steps) == (2, 5, 5)
    assert (spec.negative_prompt, spec.metadata) == ("blurry", {"user": "ann"})


@pytest.mark.quick
async def test_what_is_wrong_is_named(settings: ServiceSettings, announced: None) -> None:
    with served(settings) as (url, _):
        size, model, form, edit = await printed("python", CLIENT + WRONG, url)
    assert size[:2] == model[:2] == edit[:2] == ["BadRequestError", 400]
    assert "width 65 is not a multiple of 8" in size[2]
    assert "unknown model 'dall-e-3'; available: toy" in model[2]
    assert "images are generated from prompts only" in edit[2]
    assert form[0] == "UnsupportedParamsError", "litellm's own: both forms are given without it"
