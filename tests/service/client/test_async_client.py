"""The client for asyncio, and the handles of jobs that both clients give."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim
from service.client.async_client import AsyncSfumato
from service.client.client import Sfumato
from service.client.errors import (
    Conflict,
    InvalidRequest,
    JobFailed,
    NotFound,
    StreamLost,
    WaitTimeout,
)
from service.settings import ServiceSettings
from tests.service.cli.scripted_door import job as ended_job
from tests.service.cli.scripted_door import scripted
from tests.service.dialects.playing import drawing, png
from tests.service.served import served
from tests.service.worker import advance, finish


@pytest.fixture
async def sfumato(settings: ServiceSettings, announced: None) -> AsyncIterator[AsyncSfumato]:
    with served(settings) as (url, _):
        async with AsyncSfumato(url, retry_s=0) as client:
            yield client


async def test_images_are_drawn_and_saved(
    sfumato: AsyncSfumato, store: RedisStore, tmp_path: Path
) -> None:
    async with drawing(store, lambda held: finish(store, held, png())):
        result = await sfumato.generate("a red apple", num_images=2, seed=7, timeout_s=60)
    assert (result.job.status, result.job.request.num_images) == ("succeeded", 2)
    first, second = result.images
    assert first.save(tmp_path / "apple.png").read_bytes() == png()
    with second.pil() as opened:
        assert opened.size == (64, 64)
    assert repr(first) == f"<Image 0, seed 7, 64x64 image/png, {len(png())} bytes>"
    shown = result._repr_mimebundle_()["text/html"]
    assert shown.count('<img src="data:image/png;base64,') == 2
    assert set(first._repr_mimebundle_()) == {"text/plain", "image/png"}


async def test_a_job_is_followed_and_its_handle_knows(
    sfumato: AsyncSfumato, store: RedisStore
) -> None:
    async def work(held: Claim) -> None:
        await advance(store, held, 3, preview=True)
        await finish(store, held)

    async with drawing(store, work):
        job = await sfumato.submit("a red apple")
        events = [event async for event in job.events()]
    assert [e.data for e in events if e.kind == "preview"] == [b"preview-3"]
    assert job.view.status == "succeeded"
    assert [event async for event in job.events(after=events[-1].id)] == []
    assert (await sfumato.job(job.id)).view == job.view
    assert [each.id for each in (await sfumato.jobs()).jobs] == [job.id]
    assert (await sfumato.manifest(job.id)).request["prompt"] == "a red apple"
    assert await sfumato.image(job.id) == (await job.images())[0].data
    await sfumato.delete(job.id)
    with pytest.raises(NotFound):
        await sfumato.job(job.id)


async def test_a_wait_ends_in_time_and_the_job_goes_on(sfumato: AsyncSfumato) -> None:
    job = await sfumato.submit("a red apple")
    with pytest.raises(WaitTimeout, match=r"not ended after 0\.05 s; it continues"):
        await job.wait(0.05)
    with Sfumato(str(sfumato._http.base_url), retry_s=0) as other, pytest.raises(TimeoutError):
        await asyncio.to_thread(other.wait, job.id, 0.05)
    with pytest.raises(Conflict):
        await job.finish()
    assert (await sfumato.get(job.id)).status == "queued"
    assert (await job.cancel()).status == "canceled"
    with pytest.raises(JobFailed, match=f"job {job.id} has no images: it is canceled"):
        await job.images()


async def test_why_a_job_failed_is_said(sfumato: AsyncSfumato, store: RedisStore) -> None:
    async def work(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="the network gave NaN"))

    async with drawing(store, work):
        with pytest.raises(JobFailed, match="the network gave NaN") as failed:
            await sfumato.generate("a red apple", timeout_s=60)
    assert failed.value.job.error is not None
    assert failed.value.job.error.code == "non_finite"


async def test_the_catalogue_and_what_is_refused(sfumato: AsyncSfumato) -> None:
    assert [model.name for model in (await sfumato.models()).models] == ["toy"]
    assert {each.name for each in (await sfumato.samplers()).samplers} == {"euler", "heun"}
    assert await sfumato.workers() == []
    assert await sfumato.ready()
    with pytest.raises(InvalidRequest) as refused:
        await sfumato.submit("a red apple", sampler="eular")
    error = refused.value
    assert (error.status, error.code, error.fields[0].field) == (422, "invalid_request", "sampler")
    assert error.request_id
    assert error.detail == str(error)
    job = await sfumato.submit("a red apple")
    assert await sfumato.preview(job.id) is None


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("following", "retries"):
        monkeypatch.setattr(f"service.client.{module}.PAUSES_S", (0.0,) * 6)


@pytest.mark.usefixtures("no_pauses")
async def test_one_key_is_kept_over_the_attempts_of_a_submission() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if len(sent) == 1:
            raise httpx.ReadError("cut")
        return httpx.Response(503 if len(sent) == 2 else 202, content=ended_job().model_dump_json())

    sent: list[httpx.Request] = []
    async with AsyncSfumato(transport=httpx.MockTransport(answer)) as client:
        await client.submit("a red apple", seed=None)
    assert len({request.headers["idempotency-key"] for request in sent}) == 1
    assert [json.loads(request.content) for request in sent] == [{"prompt": "a red apple"}] * 3


class Cut(httpx.AsyncByteStream):
    """A stream that breaks after its first event, in the middle of the second."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'event: progress\r\ndata: {"step": 1, "total": 9, "attempt": 1}\r\nid: 1-1\r'
        yield b"\n\r\nevent: progress\r\nda"
        raise httpx.ReadError("cut")


@pytest.mark.usefixtures("no_pauses")
async def test_a_broken_stream_is_resumed_after_its_last_event() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        kind = {"content-type": "text/event-stream; charset=utf-8"}
        rest = b'event: progress\ndata: {"step": 2, "total": 9, "attempt": 1}\nid: 1-2\n\n'
        if len(asked) == 2:
            return httpx.Response(503, headers={"retry-after": "0"})
        if len(asked) > 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, headers=kind, stream=Cut()) if len(asked) == 1 else (
            httpx.Response(200, headers=kind, content=rest)
        )  # fmt: skip

    async def read(client: AsyncSfumato) -> None:
        async for event in client.follow("x"):
            assert event.kind == "progress"
            steps.append((event.step, event.eta_s))

    asked: list[str | None] = []
    steps: list[tuple[int, float | None]] = []
    async with AsyncSfumato(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(StreamLost, match="refused"):
            await read(client)
    assert steps == [(1, None), (2, None)]
    assert asked[:4] == [None, "1-1", "1-1", "1-2"]


def test_the_other_half_does_the_same() -> None:
    with scripted(ended_job()) as client:
        result = client.generate("a red apple")
        assert client.job("j").images()[0].data == result.images[0].data
    with scripted(ended_job(error="a NaN")) as client, pytest.raises(JobFailed, match="a NaN"):
        client.generate("a red apple")


def test_the_environment_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_URL", "https://door.example/x")
    monkeypatch.setenv("SFUMATO_API_KEY", "sfu_a_b")
    with Sfumato() as client:
        assert str(client._http.base_url) == "https://door.example/x/"
        assert client._http.headers["authorization"] == "Bearer sfu_a_b"
    with Sfumato("http://127.0.0.1:1", api_key="sfu_c_d") as client:
        assert client._http.base_url.port == 1
        assert client._http.headers["authorization"] == "Bearer sfu_c_d"
    monkeypatch.setenv("SFUMATO_URL", "door")
    with pytest.raises(ValueError, match="SFUMATO_URL: 'door' is not an address"):
        Sfumato()
    monkeypatch.setenv("SFUMATO_API_KEY", "a b")
    with pytest.raises(ValueError, match="SFUMATO_API_KEY") as refused:
        Sfumato("http://127.0.0.1:1")
    assert "a b" not in str(refused.value)
