"""fal's API, called by fal's own Python client behind TLS, which is all that it speaks."""

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import fal_client
import httpx
import pytest
import trustme
from fal_client.client import FalClientHTTPError, FalClientTimeoutError
from fastapi import FastAPI
from redis.asyncio import Redis

from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.dialects.playing import drawing
from tests.service.doors import open_door
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

T = TypeVar("T")
APP = "fal-ai/toy"
RUN, QUEUE = "/fal/run", "/fal/queue"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a door's certificate and that of who issued it."""
    folder = tmp_path_factory.mktemp("tls")
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = issuer.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "door.pem"))
    return folder


@contextlib.contextmanager
def pointed(host: str) -> Iterator[None]:
    """Have fal's client call this host: it reads FAL_RUN_HOST and its sibling when imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fal_client.client, "RUN_URL_FORMAT", f"https://{host}{RUN}/")
        patch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"https://{host}{QUEUE}/")
        yield


@pytest.fixture
def host(
    settings: ServiceSettings, announced: None, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return the host and port of a door that fal's client calls."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    bounded = settings.model_copy(update={"dialect_wait_s": 60.0})
    with served(bounded, certificate=authority / "door.pem") as (url, _):
        name = url.removeprefix("https://")
        with pointed(name):
            yield name


@contextlib.asynccontextmanager
async def calling() -> AsyncIterator[fal_client.AsyncClient]:
    """Yield fal's client, which leaves no connection open."""
    client = fal_client.AsyncClient(key="none")
    async with asyncio.timeout(90), contextlib.aclosing(await client._client):
        yield client


async def in_thread(call: Callable[[fal_client.SyncClient], T]) -> T:
    """Return what a call of fal's synchronous client returns."""

    def work() -> T:
        client = fal_client.SyncClient(key="none")
        with contextlib.closing(client._client):
            return call(client)

    return await asyncio.wait_for(asyncio.to_thread(work), 90)


def messages(status: fal_client.Status) -> list[str]:
    """Return what the logs of a status say."""
    return [line["message"] for line in getattr(status, "logs", None) or ()]


async def test_a_subscriber_follows_a_request_from_the_queue_to_its_image(
    host: str, authority: Path, store: RedisStore
) -> None:
    seen: list[fal_client.Status] = []

    async def act(held: Claim) -> None:
        await advance(store, held, 3)
        while "step 3 of 14" not in messages(seen[-1]):
            await asyncio.sleep(0.01)
        await finish(store, held)

    async with calling() as fal:
        asked = asyncio.create_task(
            fal.subscribe(
                APP,
                {
                    "prompt": "a red apple", "negative_prompt": "blurry", "seed": 5,
                    "num_inference_steps": 7, "guidance_scale": 2.5, "num_images": 2,
                    "image_size": {"width": 64, "height": 32}, "scheduler": "heun",
                    "enable_safety_checker": False,
                },
                with_logs=True, on_queue_update=seen.append, interval=0.01, priority="low",
                start_timeout=120,
            )
        )  # fmt: skip
        while not seen:
            await asyncio.sleep(0.01)
        async with drawing(store, act) as claimed:
            result = await asked
    spec = claimed[0].spec
    assert (spec.prompt, spec.negative_prompt, spec.seed) == ("a red apple", "blurry", 5)
    assert (spec.num_inference_steps, spec.guidance_scale, spec.sampler) == (7, 2.5, "heun")
    assert (spec.width, spec.height, spec.num_images, spec.priority) == (64, 32, 2, "low")
    assert spec.deadline_s == 120
    assert seen[0] == fal_client.Queued(position=0)
    assert ["started, 14 steps", "step 3 of 14"] in [messages(each) for each in seen]
    last = seen[-1]
    assert isinstance(last, fal_client.Completed)
    assert (messages(last)[-1], last.error) == ("succeeded", None)
    assert result.keys() == {"images", "seed", "prompt", "has_nsfw_concepts", "timings"}
    assert (result["seed"], result["has_nsfw_concepts"]) == (5, [False, False])
    image = result["images"][1]
    assert image["url"].startswith(f"https://{host}/")
    assert (image["width"], image["height"], image["content_type"]) == (64, 64, "image/png")
    trusted = ssl.create_default_context(cafile=authority / "ca.pem")
    async with httpx.AsyncClient(verify=trusted, timeout=60) as http:
        assert (await http.get(image["url"])).content == PNG


async def test_the_synchronous_client_submits_waits_and_finds_its_request(
    host: str, store: RedisStore
) -> None:
    def call(fal: fal_client.SyncClient) -> dict[str, Any]:
        handle = fal.submit(APP, {"prompt": "a", "sync_mode": True})
        assert isinstance(fal.status("sfumato/toy", handle.request_id), fal_client.Status)
        events = list(handle.iter_events(with_logs=False, interval=0.01))
        assert isinstance(events[-1], fal_client.Completed)
        assert events[-1].logs is None
        assert handle.get() == fal.result(f"{APP}/anything", handle.request_id)
        return handle.get()

    async with drawing(store, lambda held: finish(store, held)):
        result = await in_thread(call)
    assert result["images"][0]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.clients
async def test_run_waits_for_its_images(host: str, store: RedisStore) -> None:
    async with drawing(store, lambda held: finish(store, held)) as claimed:
        result = await in_thread(lambda fal: fal.run("sfumato/toy", {"prompt": "a"}))
    assert len(result["images"]) == 1
    assert claimed[0].id in result["images"][0]["url"]


@pytest.mark.clients
async def test_a_stream_shows_estimates_and_ends_with_the_image(
    host: str, store: RedisStore
) -> None:
    shown = asyncio.Event()

    async def act(held: Claim) -> None:
        await advance(store, held, 3, preview=True)
        await asyncio.wait_for(shown.wait(), 60)
        await finish(store, held)

    events = []
    async with calling() as fal, drawing(store, act):
        async for event in fal.stream(APP, {"prompt": "a", "seed": 5}):
            events.append(event)
            shown.set()
    estimate, last = events
    data = base64.b64encode(b"preview-3").decode()
    assert estimate["images"] == [
        {"url": f"data:image/png;base64,{data}", "content_type": "image/png"}
    ]
    assert estimate["seed"] == last["seed"] == 5
    assert last["images"][0]["url"].startswith(f"https://{host}/v1/jobs/")


@pytest.mark.clients
async def test_a_request_is_canceled_and_says_so(host: str, store: RedisStore) -> None:
    async with calling() as fal:
        handle = await fal.submit(APP, {"prompt": "a"})
        await handle.cancel()
        await fal.cancel(APP, handle.request_id)  # a repeated one finds it canceled
        status = await handle.status()
        assert isinstance(status, fal_client.Completed)
        assert status.error == f"job {handle.request_id} is canceled"
        with pytest.raises(FalClientHTTPError, match="is canceled") as raised:
            await handle.get()
        assert (raised.value.status_code, raised.value.error_type) == (400, "not_drawn")
        async with drawing(store, lambda held: finish(store, held)):
            ended = await fal.submit(APP, {"prompt": "a"})
            await ended.get(interval=0.01)
        with pytest.raises(FalClientHTTPError, match="has succeeded") as raised:
            await ended.cancel()
        assert raised.value.response.json()["status"] == "ALREADY_COMPLETED"


@pytest.mark.clients
async def test_a_failed_job_is_not_drawn_again_by_the_client(host: str, store: RedisStore) -> None:
    async def act(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="NaN at row 3"))

    async with calling() as fal, drawing(store, act):
        handle = await fal.submit(APP, {"prompt": "a"})
        status = [each async for each in handle.iter_events(interval=0.01)][-1]
        assert isinstance(status, fal_client.Completed)
        assert (status.error, status.error_type) == ("NaN at row 3", "non_finite")
        with pytest.raises(FalClientHTTPError, match="NaN at row 3") as raised:
            await handle.get()
    assert (raised.value.status_code, raised.value.error_type) == (500, "non_finite")
    assert (await store.backlog("toy")).pending_jobs == 0


@pytest.mark.full
async def test_a_client_that_gives_up_ends_its_request(host: str, store: RedisStore) -> None:
    async with calling() as fal:
        with pytest.raises(FalClientTimeoutError) as raised:
            await fal.subscribe(APP, {"prompt": "a"}, client_timeout=3)
    job = await store.get(str(raised.value.request_id))
    assert (job.status, job.spec.deadline_s) == ("canceled", 3)


class Relay:
    """Passes connections on to a door, and breaks all of them when told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._held = asyncio.Event()
        self._held.set()

    def cut(self) -> None:
        """Break all connections, and keep later ones waiting."""
        self._held.clear()
        for writer in self._open:
            writer.transport.abort()

    def join(self) -> None:
        """Let later connections through."""
        self._held.set()

    async def passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        await self._held.wait()
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        pair = {writer, to_writer}
        self._open |= pair
        await asyncio.gather(self._copy(reader, to_writer), self._copy(to_reader, writer))
        self._open -= pair

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


async def test_a_client_s_own_retry_leaves_one_job(
    host: str, store: RedisStore, settings: ServiceSettings
) -> None:
    """The connection breaks while the client waits; it tries again by itself."""
    relay = Relay(int(host.rpartition(":")[2]))
    listening = await asyncio.start_server(relay.passed, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, calling() as fal, Redis.from_url(settings.redis_url) as redis:
        with pointed(f"127.0.0.1:{port}"):
            asked = asyncio.create_task(fal.run(APP, {"prompt": "a"}))
            while not (await store.backlog("toy")).pending_jobs:
                await asyncio.sleep(0.01)
            relay.cut()
            while not await redis.keys(f"*{settings.key_prefix}*unanswered*"):
                await asyncio.sleep(0.01)
            relay.join()
            first = await claim(store)
            await finish(store, first)
            assert first.record.id in (await asked)["images"][0]["url"]
            async with drawing(store, lambda held: finish(store, held)) as claimed:
                await fal.run(APP, {"prompt": "a"})
    assert claimed[0].id != first.record.id, "the same arguments once more are a new job"
    assert len((await store.list()).records) == 2


async def test_a_request_without_an_answer_is_taken_up_by_the_next_equal_one(
    app: FastAPI, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Serve cancels what its client has left; a wait that ran out is tried again, too."""
    monkeypatch.setattr("service.dialects.retries.NOTICE_S", 60.0)  # the machine may be busy
    arguments = {"prompt": "a"}
    async with open_door(app.state.door.settings, dialect_wait_s=0.2) as (_, http):
        asked = asyncio.create_task(http.post(f"{RUN}/{APP}", json=arguments))
        while not (await store.backlog("toy")).pending_jobs:
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        late = await http.post(f"{RUN}/{APP}", json=arguments)
        assert (late.status_code, late.json()["error_type"]) == (408, "not_ended")
        job = (await claim(store)).record.id
        submitted = await http.post(f"{QUEUE}/{APP}", json=arguments)
        assert submitted.json()["request_id"] == job
        another = await http.post(f"{QUEUE}/{APP}", json=arguments)
        assert another.json()["request_id"] != job


async def test_equal_requests_that_are_answered_are_jobs_of_their_own(
    host: str, store: RedisStore
) -> None:
    async with calling() as fal:
        ids = {(await fal.submit(APP, {"prompt": "a"})).request_id for _ in range(2)}
        key = {"Idempotency-Key": "order-17"}
        same = {(await fal.submit(APP, {"prompt": "a"}, headers=key)).request_id for _ in range(2)}
    assert (len(ids), len(same)) == (2, 1)


@pytest.mark.clients
async def test_what_is_wrong_reaches_the_user(host: str) -> None:
    async with calling() as fal:
        with pytest.raises(FalClientHTTPError) as raised:
            await fal.run(APP, {"prompt": "a", "image_size": "square_hd"})
    assert raised.value.status_code == 422
    (error,) = raised.value.response.json()["detail"]
    assert error["loc"] == ["body", "image_size"]
    assert error["msg"].startswith("width 1024 is ")


JSON = {"content-type": "application/json"}
REFUSED: list[tuple[str, dict[str, Any], int, str, str]] = [
    (
        "queue/fal-ai/toy",
        {"image_size": "huge\ud800"},
        422,
        "body image_size",
        "'huge?' is neither a width",
    ),
    ("queue/fal-ai/toy", {"image_size": {"width": 64}}, 422, "body image_size height", ""),
    ("run/fal-ai/toy", {"strength": 0.5}, 422, "body strength", "unknown field"),
    ("run/fal-ai/toy", {"scheduler": "eular"}, 422, "body scheduler", "unknown sampler"),
    ("run/fal-ai/toy", {"num_images": 99}, 422, "body num_images", ""),
    ("run/fal-ai/toy", {"enable_safety_checker": True}, 422, "body enable_safety_checker", ""),
    ("run/fal-ai/toy", {"loras": [{"path": "a"}]}, 422, "body loras", ""),
    ("run/fal-ai/toy", {"output_format": "gif"}, 422, "body output_format", ""),
    ("run/fal-ai/toy/stream", {"num_images": 2}, 422, "body num_images", "must be 1"),
    ("queue/fal-ai/toy?fal_webhook=https://a.example", {}, 422, "query fal_webhook", "webhook"),
    ("queue/fal-ai/flux", {}, 404, "", "unknown model 'flux'"),
    ("queue/me/toy", {}, 404, "", "unknown application 'me/toy'"),
    ("run/fal-ai/toy/image-to-image", {}, 404, "", "nothing found"),
]


async def test_what_is_not_served_is_named(http: httpx.AsyncClient) -> None:
    for path, given, status, loc, said in REFUSED:
        body = json.dumps({"prompt": "a"} | given)  # in ASCII: httpx writes no lone surrogates
        answer = await http.post(f"/fal/{path}", content=body, headers=JSON)
        assert answer.status_code == status, answer.text
        detail = answer.json()["detail"]
        if loc:
            (error,) = detail
            assert " ".join(error["loc"]) == loc
            detail = error["msg"]
        assert said in detail
    for name, value in (("x-fal-queue-priority", "high"), ("x-fal-request-timeout", "-1")):
        answer = await http.post(f"{QUEUE}/{APP}", json={"prompt": "a"}, headers={name: value})
        assert answer.status_code == 422
        assert [each.lower() for each in answer.json()["detail"][0]["loc"]] == ["header", name]


async def test_keys_are_sent_as_fal_s_clients_do(keyed: Keyed) -> None:
    _, text = await keyed.keys.create("a", frozenset({Scope.JOBS}))
    _, other = await keyed.keys.create("b", frozenset({Scope.JOBS}))
    async with keyed.client(None) as http:

        async def get(path: str, key: str) -> httpx.Response:
            return await http.get(path, headers={"authorization": f"Key {key}"})

        refused = await get(f"{QUEUE}/{APP}/requests/x/status", "sfu_wrong")
        assert (refused.status_code, refused.json()["error_type"]) == (401, "invalid_key")
        assert refused.headers["x-fal-error-type"] == "invalid_key"
        made = await http.post(
            f"{QUEUE}/{APP}", json={"prompt": "a"}, headers={"authorization": f"Key {text}"}
        )
        assert made.status_code == 200, made.text
        path = httpx.URL(made.json()["status_url"]).path
        assert (await get(path, text)).json()["status"] == "IN_QUEUE"
        assert (await get(path, other)).status_code == 404
        assert (await get(path.replace("/toy/", "/tiny/"), text)).status_code == 404
