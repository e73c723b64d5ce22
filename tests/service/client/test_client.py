"""The Python client against a door on a real socket, the test playing the worker."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import ResultExpired
from jobs.redis.store import RedisStore
from jobs.store import Claim
from service.client.client import Job, Sfumato
from service.client.errors import (
    ConnectionFailed,
    Gone,
    InvalidRequest,
    NotFound,
    ServiceUnavailable,
    StreamLost,
    TooBusy,
)
from service.client.events import JobEvent, ResultEvent
from service.processes.ports import free_port
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL, claim
from tests.redis_server import redis_server
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

Work = Callable[[RedisStore], Coroutine[Any, Any, Any]]


def play(settings: ServiceSettings, work: Work) -> Any:
    """Do something on the store from a synchronous test."""

    async def run() -> Any:
        store = RedisStore(settings)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


@contextlib.contextmanager
def client_of(settings: ServiceSettings) -> Iterator[Sfumato]:
    """Yield a client of a door that knows the toy model."""
    play(settings, lambda store: store.announce_model(MODEL))
    with served(settings) as (address, _), Sfumato(address, retry_s=0) as client:
        yield client


@pytest.fixture
def client(settings: ServiceSettings) -> Iterator[Sfumato]:
    with client_of(settings) as opened:
        yield opened


def followed(client: Sfumato, settings: ServiceSettings) -> tuple[Job, Claim, Iterator[JobEvent]]:
    """Return a job under way, its claim, and its events after the first progress."""
    job = client.submit("a red apple")
    held = play(settings, claim)
    play(settings, lambda store: advance(store, held, 2))
    events = job.events()
    while next(events).kind != "progress":
        pass
    return job, held, events


async def draw_slowly(store: RedisStore) -> None:
    held = await claim(store)
    for step in range(1, 11):
        await advance(store, held, step, preview=step % 3 == 0)
    await finish(store, held)


def test_submitted_job_is_followed_to_its_end(client: Sfumato, settings: ServiceSettings) -> None:
    job = client.submit("a red apple", seed=5, sampler=None)
    assert job.view.status == "queued"
    assert client.preview(job.id) is None
    worker = threading.Thread(target=play, args=(settings, draw_slowly))
    worker.start()
    events = list(client.follow(job.id))
    worker.join()
    assert (events[0].kind, events[-1].kind) == ("status", "result")
    assert [e.step for e in events if e.kind == "progress"] == list(range(1, 11))
    assert [e.data for e in events if e.kind == "preview"][-1] == b"preview-9"
    assert isinstance(events[-1], ResultEvent)
    assert events[-1].job.images[0].seed == 7
    assert client.image(job.id) == PNG
    assert client.wait(job.id).status == "succeeded"


@pytest.mark.parametrize(
    "mark", "\u2028\u2029\u0085\v\f\x1c\x1d\x1e\r\n", ids=lambda mark: f"{ord(mark):04X}"
)
def test_no_character_of_a_prompt_ends_a_line_of_the_stream(
    client: Sfumato, settings: ServiceSettings, mark: str
) -> None:
    prompt = f"a red{mark}apple{mark}"
    job = client.submit(prompt, metadata={"note": mark})
    play(settings, draw_slowly)
    events = list(client.follow(job.id))
    shown = [e.job.request.prompt for e in events if e.kind == "status" or e.kind == "result"]
    assert set(shown) == {prompt}
    assert len([event for event in events if event.kind == "progress"]) == 10
    assert client.jobs().jobs[0].request.metadata == {"note": mark}


def test_stream_is_taken_up_at_the_next_door(settings: ServiceSettings) -> None:
    play(settings, lambda store: store.announce_model(MODEL))
    port = free_port()
    with Sfumato(f"http://127.0.0.1:{port}") as client:
        with served(settings, port):
            _, held, events = followed(client, settings)
        play(settings, lambda store: advance(store, held, 3))
        play(settings, lambda store: finish(store, held))
        with served(settings, port):
            rest = list(events)
    assert [e.step for e in rest if e.kind == "progress"] == [3]
    assert rest[-1].kind == "result"


def test_catalogue_lists_and_deletion(client: Sfumato) -> None:
    assert [model.name for model in client.models().models] == ["toy"]
    assert {s.name: s.models for s in client.samplers().samplers}["heun"] == ("toy",)
    assert client.workers() == []
    assert client.ready()
    ids = [client.submit("a red apple").id for _ in range(3)]
    page = client.jobs(limit=2)
    assert [job.id for job in page.jobs] == ids[:0:-1]
    assert [job.id for job in client.jobs(cursor=page.cursor).jobs] == ids[:1]
    assert client.cancel(ids[0]).status == "canceled"
    client.delete(ids[0])
    with pytest.raises(NotFound):
        client.get(ids[0])


def test_same_key_makes_one_job(client: Sfumato) -> None:
    first = client.submit("a red apple", key="k")
    assert client.submit("a red apple", key="k").id == first.id
    with pytest.raises(InvalidRequest) as refused:
        client.submit("a pear", key="k")
    assert refused.value.problem.code == "idempotency_conflict"


def test_refusals_are_typed(client: Sfumato) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.submit("a red apple", sampler="eular")
    assert refused.value.problem.errors[0].field == "sampler"
    with pytest.raises(NotFound):
        list(client.follow("nobody"))


def test_full_backlog_says_when_to_come_back(settings: ServiceSettings) -> None:
    with client_of(settings.model_copy(update={"max_backlog_units": 15.0})) as client:
        client.submit("a red apple")
        with pytest.raises(TooBusy) as refused:
            client.submit("a red apple")
        assert (refused.value.retry_after_s or 0) >= 1


def test_an_expired_image_is_gone(settings: ServiceSettings) -> None:
    brief = settings.model_copy(update={"result_ttl_s": 0.01})
    with client_of(brief) as client:
        job = client.submit("a red apple")

        async def draw(store: RedisStore) -> None:
            await finish(store, await claim(store))
            with contextlib.suppress(ResultExpired):
                while await store.image(job.id, 0):  # until this sweep or the door's drops it
                    await store.sweep()

        play(brief, draw)
        with pytest.raises(Gone):
            client.image(job.id)
        assert client.get(job.id).images[0].size_bytes == len(PNG)


def test_an_unreachable_door_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("following", "retries"):
        monkeypatch.setattr(f"service.client.{module}.PAUSES_S", (0.0,))
    with Sfumato(f"http://127.0.0.1:{free_port()}", retry_s=0) as client:
        assert not client.ready()
        with pytest.raises(ConnectionFailed):
            client.models()
        with pytest.raises(StreamLost):
            list(client.follow("nobody"))


def test_client_follows_a_job_through_an_outage_of_redis(tmp_path: Path) -> None:
    port = free_port()
    settings = ServiceSettings(
        redis_url=f"redis://127.0.0.1:{port}/0", key_prefix="outage", lease_s=120
    )
    with contextlib.ExitStack() as stack:
        with redis_server(tmp_path, port):
            client = stack.enter_context(client_of(settings))
            job, held, events = followed(client, settings)
        with pytest.raises(ServiceUnavailable) as refused:
            client.get(job.id)
        assert refused.value.retry_after_s is not None
        with redis_server(tmp_path, port):
            play(settings, lambda store: advance(store, held, 7))
            play(settings, lambda store: finish(store, held))
            rest = list(events)
    assert 7 in [event.step for event in rest if event.kind == "progress"]
    assert isinstance(rest[-1], ResultEvent)
    assert rest[-1].job.status == "succeeded"
