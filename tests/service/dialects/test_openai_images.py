"""OpenAI's Images API, called by OpenAI's own Python client."""

import asyncio
import base64
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from openai import (
    APIError,
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
)

from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.dialects.playing import drawing
from tests.service.doors import client, open_door
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import PNG, advance, finish


def openai(app: FastAPI, key: str = "none", **options: Any) -> AsyncOpenAI:
    """Return OpenAI's client of a door in this process."""
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    return AsyncOpenAI(
        api_key=key, base_url="http://door/v1", max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport, base_url="http://door"), **options,
    )  # fmt: skip


async def test_pictures_come_as_base64_and_as_links(app: FastAPI, store: RedisStore) -> None:
    async with openai(app) as api, drawing(store, lambda held: finish(store, held)) as claimed:
        answer = await api.images.generate(
            prompt="a red apple", model="toy", n=2, size="64x64", user="ann",
            extra_body={"seed": 5, "num_inference_steps": 7, "negative_prompt": "blurry"},
        )  # fmt: skip
    assert answer.data is not None
    assert [base64.b64decode(each.b64_json or "") for each in answer.data] == [PNG, PNG]
    assert (answer.size, answer.output_format, answer.quality) == ("64x64", "png", "auto")
    async with client(app) as http:
        assert (await http.get(answer.data[1].url or "")).content == PNG
    spec = claimed[0].spec
    assert (spec.num_images, spec.seed, spec.num_inference_steps) == (2, 5, 7)
    assert (spec.negative_prompt, spec.preview.every, spec.metadata) == (
        "blurry",
        0,
        {"user": "ann"},
    )


@pytest.mark.parametrize(("wanted", "given"), [("url", (False, True)), ("b64_json", (True, False))])
async def test_the_form_that_is_asked_for_is_the_only_one(
    app: FastAPI, store: RedisStore, wanted: Any, given: tuple[bool, bool]
) -> None:
    async with openai(app) as api, drawing(store, lambda held: finish(store, held)):
        answer = await api.images.generate(prompt="a", response_format=wanted)
    assert answer.data is not None
    assert (answer.data[0].b64_json is not None, answer.data[0].url is not None) == given


@pytest.mark.parametrize("partials", [0, 1, 3])
async def test_estimates_come_before_the_image_and_differ(
    settings: ServiceSettings, announced: None, store: RedisStore, partials: int
) -> None:
    shown = asyncio.Event()

    async def act(held: Claim) -> None:
        for step in range(1, held.record.total_steps):
            await advance(store, held, step, preview=True)
        if partials:
            await asyncio.wait_for(shown.wait(), 60)
        await finish(store, held)

    events: list[Any] = []
    with served(settings) as (url, _):
        async with (
            AsyncOpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as api,
            drawing(store, act) as claimed,
        ):
            stream = await api.images.generate(
                prompt="a", model="toy", stream=True, partial_images=partials,
                extra_body={"num_inference_steps": 12},
            )  # fmt: skip
            async for event in stream:
                events.append(event)
                if len(events) == partials:
                    shown.set()  # the job ends after they have come
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds == ["partial_image"] * partials + ["completed"]
    *estimates, last = events
    assert [e.partial_image_index for e in estimates] == list(range(partials))
    assert len({event.b64_json for event in events}) == partials + 1
    assert base64.b64decode(last.b64_json) == PNG
    assert last.size == "64x64"
    assert claimed[0].spec.preview.every == (12 // (partials + 1) if partials else 0)


async def test_a_job_that_fails_ends_the_stream_with_the_error(
    app: FastAPI, store: RedisStore
) -> None:
    async def act(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="NaN at row 3"))

    async with openai(app) as api, drawing(store, act):
        stream = await api.images.generate(prompt="a", stream=True)
        with pytest.raises(APIError, match="NaN at row 3"):
            await anext(aiter(stream))


async def test_a_job_that_fails_is_not_drawn_again_by_the_client(
    app: FastAPI, store: RedisStore
) -> None:
    async def act(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="NaN at row 3"))

    async with openai(app) as api, drawing(store, act):
        with pytest.raises(InternalServerError, match="NaN at row 3") as raised:
            await api.with_options(max_retries=2).images.generate(prompt="a")
    assert raised.value.code == "non_finite"
    assert (await store.backlog("toy")).pending_jobs == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "64"}, "size"),
        ({"size": "65x64"}, "size"),
        ({"size": "9999x64"}, "size"),
        ({"n": 11}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"partial_images": 2}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"quality": "best"}, "quality"),
        ({"style": "vivid"}, "style"),
        ({"model": "dall-e-3"}, "model"),
        ({"extra_body": {"sampler": "eular"}}, "sampler"),
        ({"extra_body": {"guidance_scale": 99}}, "guidance_scale"),
        ({"extra_body": {"num_inference_steps": 0}}, "num_inference_steps"),
        ({"prompt": "a" * 5000}, "prompt"),
    ],
)
async def test_what_is_wrong_is_named(app: FastAPI, fields: dict[str, Any], param: str) -> None:
    async with openai(app) as api:
        with pytest.raises(BadRequestError) as raised:
            await api.images.generate(**({"prompt": "a"} | fields))
    assert raised.value.param == param
    assert raised.value.type == "invalid_request_error"
    assert raised.value.request_id
    assert raised.value.code in ("invalid_request", "unknown_model")


@pytest.mark.parametrize(("quality", "steps"), [("low", 5), ("high", 20), ("auto", 10), ("hd", 20)])
async def test_quality_is_a_number_of_steps(
    app: FastAPI, store: RedisStore, quality: Any, steps: int
) -> None:
    async with openai(app) as api, drawing(store, lambda held: finish(store, held)) as claimed:
        answer = await api.images.generate(prompt="a", quality=quality)
    assert claimed[0].spec.num_inference_steps == steps
    assert answer.quality == quality


async def test_edits_are_refused_in_its_own_words(app: FastAPI) -> None:
    async with openai(app) as api:
        with pytest.raises(BadRequestError, match="generated from prompts only") as raised:
            await api.images.edit(image=("a.png", PNG), prompt="a")
        assert raised.value.code == "not_supported"
        with (
            pytest.warns(DeprecationWarning, match="deprecated"),
            pytest.raises(BadRequestError, match="generated from prompts only"),
        ):
            await api.images.create_variation(image=("a.png", PNG))


async def test_models_are_listed_and_found(app: FastAPI) -> None:
    async with openai(app) as api:
        listed = [model.id async for model in api.models.list()]
        assert listed == ["toy"]
        assert (await api.models.retrieve("toy")).id == "toy"
        with pytest.raises(APIStatusError):
            await api.models.retrieve("dall-e-3")


async def test_a_client_s_own_retry_leaves_one_job(app: FastAPI, store: RedisStore) -> None:
    """The connection breaks once the job is stored; the client tries again by itself."""
    broken: list[str] = []

    class Breaking(httpx2.AsyncBaseTransport):
        inner = httpx2.ASGITransport(app, client=("127.0.0.1", 1))

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            if not broken:
                task = asyncio.create_task(self.inner.handle_async_request(request))
                while not (await store.backlog("toy")).pending_jobs:
                    await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                broken.append(request.headers["x-stainless-retry-count"])
                raise httpx2.ReadError("broken", request=request)
            broken.append(request.headers["x-stainless-retry-count"])
            return await self.inner.handle_async_request(request)

    async with (
        AsyncOpenAI(
            api_key="none", base_url="http://door/v1", max_retries=2,
            http_client=httpx2.AsyncClient(transport=Breaking()),
        ) as api
    ):  # fmt: skip
        asked = asyncio.create_task(api.images.generate(prompt="a", model="toy"))
        while len(broken) < 2:
            await asyncio.sleep(0.01)
        await finish(store, await claim(store))
        first = await asyncio.wait_for(asked, 60)
        assert broken == ["0", "1"]
        assert first.data is not None
        async with drawing(store, lambda held: finish(store, held)):
            again = await api.images.generate(prompt="a", model="toy")
    async with client(app) as http:
        assert len((await http.get("/v1/jobs")).json()["jobs"]) == 2, "the same body is a new job"
    assert again.data is not None
    assert again.data[0].url != first.data[0].url


async def test_an_equal_request_is_a_new_job_however_late(
    app: FastAPI, store: RedisStore, redis: Any
) -> None:
    urls = []
    for _ in range(2):
        async with openai(app) as api, drawing(store, lambda held: finish(store, held)):
            answer = await api.images.generate(prompt="a")
        assert answer.data is not None
        urls.append(answer.data[0].url)
        for name in redis.scan_iter("*tries*"):  # as if its time were over
            redis.delete(name)
    assert urls[0] != urls[1]


async def test_a_given_key_is_one_job(app: FastAPI, store: RedisStore) -> None:
    headers = {"Idempotency-Key": "order-17"}
    async with openai(app) as api, drawing(store, lambda held: finish(store, held)):
        urls = [
            (await api.images.generate(prompt="a", extra_headers=headers)).data[0].url  # type: ignore[index]
            for _ in range(2)
        ]
    assert urls[0] == urls[1]


async def test_keys_are_asked_for_in_its_own_words(keyed: Keyed) -> None:
    async with openai(keyed.app, "sfu_wrong") as api:
        with pytest.raises(AuthenticationError, match="unknown, revoked or expired") as raised:
            await api.images.generate(prompt="a")
    assert (raised.value.type, raised.value.code) == ("authentication_error", "invalid_key")


async def test_a_dialect_that_is_off_is_not_there(app: FastAPI, store: RedisStore) -> None:
    settings = app.state.door.settings
    async with open_door(settings, dialects=()) as (without, http):
        answer = await http.post("/v1/images/generations", json={"prompt": "a"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "/v1/images/generations" not in without.openapi()["paths"]


async def test_too_many_requests_are_refused_in_its_own_words(app: FastAPI) -> None:
    async with (
        open_door(app.state.door.settings, rate_limit=1) as (limited, _),
        openai(limited) as api,
    ):
        await api.models.list()
        with pytest.raises(RateLimitError) as raised:
            await api.images.generate(prompt="a")
    assert raised.value.type == "rate_limit_error"
    assert int(raised.value.response.headers["retry-after"]) >= 1


async def test_a_stream_that_is_refused_leaves_no_job(app: FastAPI, store: RedisStore) -> None:
    door = app.state.door
    async with open_door(door.settings, max_listeners_per_caller=1) as (limited, _):
        limited.state.door.listeners.enter("address 127.0.0.1")
        async with openai(limited) as api:
            for options in ({"stream": True}, {}):
                with pytest.raises(RateLimitError) as raised:
                    await api.images.generate(prompt="a", model="toy", **options)  # type: ignore[call-overload]
                assert raised.value.code == "too_many_listeners"
        limited.state.door.listeners.leave("address 127.0.0.1")
    assert (await store.backlog("toy")).pending_jobs == 0
