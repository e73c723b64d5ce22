"""Hugging Face's text-to-image task, called by its own client."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import InferenceClient, close_session
from huggingface_hub.errors import HfHubHTTPError

from jobs.redis.store import RedisStore
from jobs.schema import JobRecord
from service.settings import ServiceSettings
from tests.service.dialects.playing import drawing, png
from tests.service.served import served
from tests.service.worker import finish

Call = Callable[[InferenceClient], Any]


@pytest.fixture(autouse=True)
def own_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Send no key of this machine's user, and leave no connection open."""
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield
    close_session()


async def called(
    settings: ServiceSettings, store: RedisStore, call: Call, path: str = "models/toy"
) -> tuple[Any, JobRecord]:
    """Return what the client returns, and the job that it made."""
    picture = png()
    with served(settings) as (url, _):
        async with drawing(store, lambda held: finish(store, held, picture)) as claimed:
            client = InferenceClient(model=f"{url}/{path}", timeout=60)
            answer = await asyncio.to_thread(call, client)
    return answer, claimed[0]


@pytest.mark.parametrize("path", ["models/toy", "hf-inference/models/toy"])
async def test_an_image_comes_back(
    settings: ServiceSettings, announced: None, store: RedisStore, path: str
) -> None:
    image, job = await called(
        settings, store,
        lambda client: client.text_to_image(
            "a red apple", negative_prompt="blurry", height=64, width=64, num_inference_steps=5,
            guidance_scale=1.5, scheduler="euler", seed=5,
        ),
        path,
    )  # fmt: skip
    assert image.size == (64, 64)
    spec = job.spec
    assert (spec.prompt, spec.negative_prompt, spec.seed) == ("a red apple", "blurry", 5)
    assert (spec.sampler, spec.num_inference_steps, spec.guidance_scale) == ("euler", 5, 1.5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scheduler": "eular"}, "unknown sampler 'eular'"),
        ({"width": 65}, "width 65 is not a multiple of"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": 99}, "guidance_scale"),
        ({"extra_body": {"clip_skip": 2}}, "clip_skip: unknown field"),
    ],
)
async def test_what_is_wrong_reaches_the_user(
    settings: ServiceSettings, announced: None, fields: dict[str, Any], said: str
) -> None:
    with served(settings) as (url, _):
        client = InferenceClient(model=f"{url}/models/toy", timeout=60)
        with pytest.raises(HfHubHTTPError) as raised:
            await asyncio.to_thread(lambda: client.text_to_image("a", **fields))
    assert raised.value.response is not None
    assert raised.value.response.status_code == 422
    assert said in str(raised.value)


async def test_an_unknown_model_and_a_format_that_is_not_served_are_refused(
    settings: ServiceSettings, announced: None
) -> None:
    with served(settings) as (url, _):
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            answer = await http.post("/models/owner/name", json={"inputs": "a"})
            assert answer.status_code == 422
            assert answer.json()["error"].startswith("unknown model 'owner/name'")
            answer = await http.post(
                "/models/toy", json={"inputs": "a"}, headers={"accept": "image/gif"}
            )
            assert answer.status_code == 406
            assert "image/png" in answer.json()["error"]
