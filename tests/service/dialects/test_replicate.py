"""Replicate's API, called by its own Python client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.prediction import Prediction
from replicate.stream import ServerSentEvent

from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.conftest import Opened
from tests.jobs.examples import MODEL, claim
from tests.service.dialects.playing import drawing
from tests.service.doors import client, open_door, submit
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

INPUT = {"prompt": "a red apple", "num_inference_steps": 8, "seed": 5}
Events = ServerSentEvent.EventType


@contextlib.contextmanager
def replicate(url: str) -> Iterator[Client]:
    """Return Replicate's client of a door behind a socket; its connections are closed."""
    api = Client(api_token="none", base_url=url)
    api.poll_interval = 0.01
    with api._client:
        yield api


@contextlib.asynccontextmanager
async def replicate_of(app: FastAPI, key: str = "none", **options: Any) -> AsyncIterator[Client]:
    """Return Replicate's client of a door in this process."""
    transport = options.pop("transport", httpx.ASGITransport(app, client=("127.0.0.1", 1)))
    api = Client(api_token=key, base_url="http://door", transport=transport, **options)
    api.poll_interval = 0.01
    async with api._async_client:
        yield api


async def test_a_model_is_run(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    fields = INPUT | {"num_outputs": 2, "scheduler": "heun", "width": 72, "output_format": "jpg"}
    with served(settings) as (url, _), replicate(url) as api:
        async with drawing(store, lambda held: finish(store, held)) as claimed:
            files = await asyncio.to_thread(api.run, "sfumato/toy", input=fields)
    assert [file.read() for file in files] == [PNG, PNG]
    spec = claimed[0].spec
    assert (spec.prompt, spec.num_images, spec.sampler) == ("a red apple", 2, "heun")
    assert (spec.seed, spec.num_inference_steps, spec.width) == (5, 8, 72)
    assert spec.output_format == "jpeg"


@pytest.mark.parametrize(
    ("reference", "wait"),
    [("sfumato/toy", True), (f"sfumato/toy:{MODEL.sha256}", 1), ("sfumato/toy", False)],
)
async def test_a_model_is_run_without_blocking(
    app: FastAPI, store: RedisStore, reference: str, wait: bool | int
) -> None:
    async with replicate_of(app) as api, drawing(store, lambda held: finish(store, held)):
        (file,) = cast(list[Any], await api.async_run(reference, input=INPUT, wait=wait))
        assert await file.aread() == PNG


async def test_a_wait_that_runs_out_is_followed_by_polling(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    """The job is being drawn by then, which only a later answer may say."""
    begun = asyncio.Event()

    async def act(held: Claim) -> None:
        await advance(store, held, 3)
        await asyncio.wait_for(begun.wait(), 60)
        await finish(store, held)

    async with (
        open_door(settings, max_wait_s=0.05) as (app, http),
        replicate_of(app) as api,
        drawing(store, act) as claimed,
    ):
        run = asyncio.create_task(api.async_run("sfumato/toy", input=INPUT))
        async with asyncio.timeout(60):
            while not claimed:
                await asyncio.sleep(0.01)
            path = f"/v1/predictions/{claimed[0].id}"
            while (await http.get(path)).json()["status"] != "processing":
                await asyncio.sleep(0.01)
        begun.set()
        (file,) = cast(list[Any], await asyncio.wait_for(run, 60))
        assert await file.aread() == PNG


async def test_a_prediction_is_followed_to_its_end(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    with served(settings) as (url, _), replicate(url) as api:
        made = await asyncio.to_thread(api.predictions.create, version="sfumato/toy", input=INPUT)
        assert (made.status, made.model, made.version) == ("starting", "sfumato/toy", "0" * 64)
        assert (made.output, made.error, made.progress, made.metrics) == (None, None, None, None)
        assert made.input is not None
        assert INPUT.items() <= made.input.items()
        held = await claim(store)
        await advance(store, held, 3)
        under_way = await asyncio.to_thread(api.predictions.get, made.id)
        assert (under_way.status, under_way.output) == ("processing", None)
        assert under_way.progress == Prediction.Progress(0.37, 3, 8)
        assert under_way.logs is not None
        assert under_way.logs.splitlines() == ["Using seed: 5", " 37%|███       | 3/8"]
        await finish(store, held)
        await asyncio.to_thread(made.wait)
    assert (made.status, made.progress) == ("succeeded", Prediction.Progress(1.0, 8, 8))
    assert made.completed_at is not None
    assert made.metrics is not None
    assert set(made.metrics) == {"predict_time", "total_time"}
    assert made.output is not None
    assert made.output[0].startswith("data:image/png;base64,")


async def test_a_prediction_is_canceled(app: FastAPI, store: RedisStore) -> None:
    async with replicate_of(app) as api:
        made = await api.predictions.async_create(model="sfumato/toy", input=INPUT)
        await made.async_cancel()
        assert made.status == "canceled"
        assert (await store.get(made.id)).status == "canceled"
        events = [event async for event in made.async_stream()]
        assert [event.event for event in events] == [Events.LOGS, Events.DONE]
        assert events[-1].data == '{"reason": "canceled"}'


async def test_a_stream_that_lasts_too_long_says_that_its_job_goes_on(
    settings: ServiceSettings, announced: None
) -> None:
    async with open_door(settings, dialect_wait_s=0.05) as (app, _), replicate_of(app) as api:
        made = await api.predictions.async_create(model="sfumato/toy", input=INPUT)
        with pytest.raises(RuntimeError, match=f"job {made.id} has not ended yet"):
            async for _ in made.async_stream():
                pass


async def test_a_stream_has_progress_and_then_the_images(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async def act(held: Claim) -> None:
        for step in (2, 4):
            await advance(store, held, step, preview=True)
        await finish(store, held)

    with served(settings) as (url, _), replicate(url) as api:
        async with drawing(store, act):
            events = await asyncio.to_thread(
                lambda: list(api.stream("sfumato/toy", input=INPUT | {"num_outputs": 2}))
            )
    kinds = [event.event for event in events]
    assert kinds == [Events.LOGS] * 3 + [Events.OUTPUT] * 2 + [Events.DONE]
    assert [event.data for event in events[:3]] == [
        "Using seed: 5\n", " 12%|█         | 2/16\n", " 25%|██        | 4/16\n",
    ]  # fmt: skip
    assert [event.data.read() for event in events[3:5]] == [PNG, PNG]  # type: ignore[attr-defined]


async def test_a_failure_reaches_the_user(app: FastAPI, store: RedisStore) -> None:
    async def act(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="NaN at row 3"))

    async with replicate_of(app) as api:
        for wait in (True, False):
            async with drawing(store, act) as claimed:
                with pytest.raises(ModelError, match="NaN at row 3"):
                    await api.async_run("sfumato/toy", input=INPUT, wait=wait)
        made = await api.predictions.async_get(claimed[0].id)
        with pytest.raises(RuntimeError, match="NaN at row 3"):
            async for _ in made.async_stream():
                pass


async def test_what_has_expired_says_so(
    app: FastAPI, settings: ServiceSettings, opened: Opened[RedisStore]
) -> None:
    store = opened(RedisStore(settings.model_copy(update={"result_ttl_s": 1e-6})))
    async with replicate_of(app) as api, client(app) as http:
        drawn = await api.predictions.async_create("sfumato/toy", INPUT)
        await finish(store, await claim(store))
        while not (await store.get(drawn.id)).results_dropped:
            await store.sweep()
        await drawn.async_reload()
        assert (drawn.status, drawn.output) == ("succeeded", None)
        with pytest.raises(RuntimeError, match=f"the images of job {drawn.id} have expired"):
            async for _ in drawn.async_stream():
                pass
        late = await api.predictions.async_get(await submit(http, deadline_s=0.001))
        await store.sweep()
        await late.async_wait()
        assert late.status == "failed"
        assert late.error == f"job {late.id} did not end before its deadline"


async def test_predictions_are_listed_by_pages(app: FastAPI, store: RedisStore) -> None:
    async with replicate_of(app) as api:
        made = [await api.models.predictions.async_create("sfumato/toy", INPUT) for _ in range(21)]
        await finish(store, await claim(store))
        first = await api.predictions.async_list()
        second = await api.predictions.async_list(first.next)
        assert [each.id for each in (*first, *second)] == [each.id for each in reversed(made)]
        assert second.next is None
        assert second[0].output == [f"http://door/v1/jobs/{made[0].id}/images/0"]
        assert (await api.predictions.async_get(made[0].id)).output != second[0].output


async def test_a_model_says_what_it_takes(app: FastAPI) -> None:
    async with replicate_of(app) as api:
        model = await api.models.async_get("sfumato", "toy")
        assert (model.id, model.description) == ("sfumato/toy", "Toy")
        assert model.latest_version is not None
        schemas = model.latest_version.openapi_schema["components"]["schemas"]
        assert schemas["Output"]["type"] == "array"
        assert schemas["Input"]["required"] == ["prompt"]
        assert {*INPUT} < {*schemas["Input"]["properties"]}
        listed = await model.versions.async_list()
        got = await model.versions.async_get(MODEL.sha256)
        assert listed[0] == got == model.latest_version
        with pytest.raises(ReplicateError, match="sfumato/toy has no version 1; available: 000"):
            await model.versions.async_get("1")


WRONG: tuple[tuple[str, dict[str, Any], int, str], ...] = (
    ("sfumato/joy", {}, 404, "no model sfumato/joy; available: sfumato/toy"),
    ("owner/toy", {}, 404, "no model owner/toy; available: sfumato/toy"),
    ("sfumato/toy:12", {}, 422, "no model has version 12; available: sfumato/toy:000"),
    ("sfumato/toy:sfumato/toy:", {}, 422, "no model has version ; available: "),
    ("sfumato/toy", {"prompt": None}, 422, "input.prompt: "),
    ("sfumato/toy", {"aspect_ratio": "1:1"}, 422, "input.aspect_ratio: unknown field"),
    ("sfumato/toy", {"scheduler": "K_EULER"}, 422, "unknown sampler 'K_EULER'"),
    ("sfumato/toy", {"num_outputs": 17}, 422, "input.num_outputs: "),
    ("sfumato/toy", {"guidance_scale": 99}, 422, "guidance_scale: "),
    ("sfumato/toy", {"width": 65}, 422, "width 65 is not a multiple of"),
)


async def test_what_is_wrong_is_named(app: FastAPI) -> None:
    async with replicate_of(app) as api:
        for reference, fields, status, said in WRONG:
            with pytest.raises(ReplicateError) as raised:
                await api.async_run(reference, input=INPUT | fields)
            assert (raised.value.status, said in str(raised.value.detail)) == (status, True), said
            assert raised.value.title


async def test_webhooks_are_refused_by_name(app: FastAPI) -> None:
    asked: dict[str, Any] = {
        "webhook": "https://example.org", "webhook_events_filter": ["completed"],
    }  # fmt: skip
    async with replicate_of(app) as api:
        for name, value in asked.items():
            with pytest.raises(ReplicateError, match=f"{name} is not supported") as raised:
                await api.predictions.async_create("sfumato/toy", INPUT, **{name: value})
            assert raised.value.status == 400


async def test_links_are_the_output_where_they_open_as_files(
    app: FastAPI, store: RedisStore
) -> None:
    async with (
        open_door(app.state.door.settings, public_url="https://pictures.example") as (door, http),
        replicate_of(door) as api,
        drawing(store, lambda held: finish(store, held)),
    ):
        (file,) = cast(list[Any], await api.async_run("sfumato/toy", input=INPUT))
        assert file.url.startswith("https://pictures.example/v1/jobs/")
        assert (await http.get(file.url)).content == PNG


async def test_keys_come_as_its_clients_send_them(keyed: Keyed, store: RedisStore) -> None:
    _, key = await keyed.keys.create("a", frozenset({Scope.JOBS}))
    async with replicate_of(keyed.app, key) as api:
        made = await api.predictions.async_create("sfumato/toy", INPUT)
    await finish(store, await claim(store))
    headers = {"authorization": f"Token {key}"}
    async with replicate_of(keyed.app, headers=headers) as older:
        assert (await older.predictions.async_get(made.id)).status == "succeeded"
    assert made.urls is not None
    async with client(keyed.app) as stranger:
        stream = await stranger.get(made.urls["stream"])
        assert "event: done" in stream.text, "a link opens without a key"
        assert (await stranger.get(made.urls["get"])).status_code == 401
    async with replicate_of(keyed.app, "sfu_wrong") as api:
        with pytest.raises(ReplicateError, match="unknown, revoked or expired"):
            await api.async_run("sfumato/toy", input=INPUT)


async def pending(store: RedisStore) -> None:
    """Wait until a job is queued."""
    async with asyncio.timeout(60):
        while not (await store.backlog("toy")).pending_jobs:
            await asyncio.sleep(0.01)


class Breaking(httpx.AsyncBaseTransport):
    """The connection of the first request breaks once its job is stored."""

    def __init__(self, app: FastAPI, store: RedisStore) -> None:
        self._inner = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        self._store = store
        self._broken = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._broken:
            return await self._inner.handle_async_request(request)
        self._broken = True
        task = asyncio.create_task(self._inner.handle_async_request(request))
        await pending(self._store)
        task.cancel()
        raise httpx.ReadError("broken", request=request)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the door time to notice that a connection broke: the machine may be busy."""
    monkeypatch.setattr("service.dialects.retries.NOTICE_S", 60.0)


async def test_a_request_whose_connection_broke_goes_on_with_its_job(
    app: FastAPI, store: RedisStore, patient: None
) -> None:
    async with replicate_of(app, transport=Breaking(app, store)) as api:
        with pytest.raises(httpx.ReadError):
            await api.async_run("sfumato/toy", input=INPUT)
        async with drawing(store, lambda held: finish(store, held)) as claimed:
            await api.async_run("sfumato/toy", input=INPUT)
        async with drawing(store, lambda held: finish(store, held)) as others:
            await api.async_run("sfumato/toy", input=INPUT)
    assert claimed[0].id != others[0].id, "the one after it is a job of its own"
    assert (await store.backlog("toy")).pending_jobs == 0


async def test_a_retry_goes_on_with_its_job_though_nobody_noticed_the_break_yet(
    settings: ServiceSettings, announced: None, store: RedisStore, patient: None
) -> None:
    body = {"version": "sfumato/toy", "input": INPUT}
    with served(settings) as (url, _), replicate(url) as api:
        async with httpx.AsyncClient(
            base_url=url, headers={"prefer": "wait"}, timeout=60
        ) as leaving:
            asked = asyncio.create_task(leaving.post("/v1/predictions", json=body))
            await pending(store)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        made = await asyncio.to_thread(api.predictions.create, version="sfumato/toy", input=INPUT)
    assert (await claim(store)).record.id == made.id
    assert (await store.backlog("toy")).pending_jobs == 0


async def test_equal_requests_at_once_are_jobs_of_their_own(
    app: FastAPI, store: RedisStore
) -> None:
    async def both(act: Callable[[], Awaitable[Any]]) -> set[str]:
        return {each.id for each in await asyncio.gather(act(), act())}

    async with replicate_of(app) as api:
        made = await both(lambda: api.predictions.async_create("sfumato/toy", INPUT))
        assert len(made) == 2
    async with replicate_of(app, headers={"idempotency-key": "order-17"}) as api:
        made = await both(lambda: api.predictions.async_create("sfumato/toy", INPUT))
        assert len(made) == 1


async def test_a_dialect_that_is_off_is_not_there(app: FastAPI) -> None:
    async with open_door(app.state.door.settings, dialects=()) as (_, http):
        answer = await http.get("/v1/predictions")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
