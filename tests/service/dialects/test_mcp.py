"""The Model Context Protocol, spoken by its own Python client."""

import asyncio
import base64
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, TextContent

from jobs.redis.store import RedisStore
from jobs.schema import JobError, JobStatus
from jobs.store import Claim
from service.auth.scope import Scope
from service.settings import ServiceSettings
from service.uvicorn_door import DoorServer
from tests.jobs.examples import claim
from tests.service.dialects.playing import drawing
from tests.service.doors import client, open_door, submit
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import PNG, advance, finish

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
"""The protocol without a handshake, and the one of former years with it."""
MODES_OF_CLIENTS = pytest.mark.parametrize(
    "mode", ["auto", pytest.param("legacy", marks=pytest.mark.clients)]
)
MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


@contextlib.asynccontextmanager
async def assistant(app: FastAPI, key: str | None = None, **more: str) -> AsyncIterator[Client]:
    """Yield MCP's client of a door in this process, with this key and more headers."""
    headers = more if key is None else more | {"authorization": f"Bearer {key}"}
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 1))
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers) as http,
        Client(streamable_http_client("http://door/mcp", http_client=http)) as found,
    ):
        yield found


def text_of(answer: CallToolResult) -> str:
    """Return the text that an answer ends with."""
    last = answer.content[-1]
    assert isinstance(last, TextContent)
    return last.text


def images_of(answer: CallToolResult) -> list[bytes]:
    return [base64.b64decode(i.data) for i in answer.content if isinstance(i, ImageContent)]


def id_in(text: str) -> str:
    found = re.search(r"job (\w{32})", text)
    assert found is not None, text
    return found[1]


@MODES
async def test_images_come_back_after_progress(
    settings: ServiceSettings, announced: None, store: RedisStore, mode: Any
) -> None:
    heard: list[tuple[float, float | None, str | None]] = []
    queued, stepped = asyncio.Event(), asyncio.Event()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        (stepped if "step 4 of 10" in (message or "") else queued).set()

    async def act(held: Claim) -> None:
        await advance(store, held, 4)
        await asyncio.wait_for(stepped.wait(), 60)
        await finish(store, held)

    with served(settings) as (url, _):
        async with Client(f"{url}/mcp", mode=mode) as api:
            arguments = {"prompt": "a red apple", "num_inference_steps": 5, "num_images": 2}
            call = asyncio.create_task(
                api.call_tool("draw", arguments | {"seed": 7}, progress_callback=hear)
            )
            await asyncio.wait_for(queued.wait(), 60)
            async with drawing(store, act) as claimed:
                answer = await asyncio.wait_for(call, 60)
        async with httpx2.AsyncClient(timeout=60) as http:
            links = re.findall(r"image \d: seed \d+, (\S+)", text_of(answer))
            assert [(await http.get(link)).content for link in links] == [PNG, PNG]
    assert not answer.is_error
    assert images_of(answer) == [PNG, PNG]
    spec = claimed[0].spec
    assert (spec.prompt, spec.num_images, spec.seed, spec.preview.every) == ("a red apple", 2, 7, 0)
    assert spec.output_format == "jpeg"
    assert claimed[0].id == id_in(text_of(answer))
    assert "5 steps of euler" in text_of(answer)
    values = [progress for progress, _, _ in heard]
    assert values == sorted(set(values))
    assert heard[0] == (0, 10, f"job {claimed[0].id} is queued at position 1")
    assert heard[-1] == (4, 10, f"job {claimed[0].id} is running: step 4 of 10")


@MODES_OF_CLIENTS
async def test_tools_are_listed_with_their_bounds(
    settings: ServiceSettings, announced: None, mode: Any
) -> None:
    with served(settings) as (url, _):
        async with Client(f"{url}/mcp", mode=mode) as api:
            tools = {tool.name: tool for tool in (await api.list_tools()).tools}
            (model,) = json.loads(text_of(await api.call_tool("models")))
            with pytest.raises(MCPError, match=r"no tool 'paint'.*available: draw, job"):
                await api.call_tool("paint")
    assert set(tools) == {"draw", "job", "cancel", "models"}
    schema = tools["draw"].input_schema
    assert schema["required"] == ["prompt"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["num_images"]["maximum"] == 16
    assert (model["name"], model["samplers"]) == ("toy", ["euler", "heun"])


@MODES_OF_CLIENTS
async def test_a_call_that_is_given_up_cancels_its_job_where_the_protocol_says_so(
    settings: ServiceSettings, announced: None, store: RedisStore, mode: Any
) -> None:
    with served(settings) as (url, server):
        async with Client(f"{url}/mcp", mode=mode) as api:
            call = asyncio.create_task(api.call_tool("draw", {"prompt": "a"}))
            while not (await store.backlog("toy")).pending_jobs:
                await asyncio.sleep(0.01)
            held = await claim(store)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        door = app_of(server).state.door
        async with asyncio.timeout(60):
            while door.followers or (mode == "auto" and not await ended(store, held)):
                await asyncio.sleep(0.01)
        assert mode == "auto" or not door.tasks, "nothing is about to cancel it"
    assert await ended(store, held) == (mode == "auto")


async def ended(store: RedisStore, held: Claim) -> bool:
    return (await store.get(held.record.id)).status.ended


def app_of(server: DoorServer) -> FastAPI:
    app = server.config.app
    assert isinstance(app, FastAPI)
    return app


@MODES_OF_CLIENTS
async def test_a_door_that_closes_says_that_the_job_goes_on(
    settings: ServiceSettings, announced: None, store: RedisStore, mode: Any
) -> None:
    with served(settings) as (url, server):
        async with Client(f"{url}/mcp", mode=mode) as api:
            await api.list_tools()  # which the client asks for after a call, if it has not before
            call = asyncio.create_task(api.call_tool("draw", {"prompt": "a"}))
            while not (await store.backlog("toy")).pending_jobs:
                await asyncio.sleep(0.01)
            held = await claim(store)
            server.handle_exit(0, None)
            answer = await asyncio.wait_for(call, 60)
    assert text_of(answer).startswith(f"job {held.record.id} is ")
    assert "Call the tool `job`" in text_of(answer)
    assert (await store.get(held.record.id)).status is JobStatus.RUNNING


async def test_a_job_that_takes_longer_is_asked_for_later(app: FastAPI, store: RedisStore) -> None:
    async with assistant(app) as api:
        first = await api.call_tool("draw", {"prompt": "a", "wait_s": 0})
        assert not first.is_error
        assert "queued at position 1. Call the tool `job`" in text_of(first)
        job_id = id_in(text_of(first))
        held = await claim(store)
        await advance(store, held, 3)
        asked = {"job_id": job_id, "wait_s": 0}
        assert "running: step 3 of 10" in text_of(await api.call_tool("job", asked))
        await finish(store, held)
        assert images_of(await api.call_tool("job", asked)) == [PNG]
        assert "succeeded" in text_of(await api.call_tool("cancel", {"job_id": job_id}))


async def test_a_given_key_is_one_job(app: FastAPI, store: RedisStore) -> None:
    async with assistant(app, **{"idempotency-key": "order-17"}) as api:
        answers = [await api.call_tool("draw", {"prompt": "a", "wait_s": 0}) for _ in range(2)]
        other = await api.call_tool("draw", {"prompt": "b", "wait_s": 0})
    assert id_in(text_of(answers[0])) == id_in(text_of(answers[1]))
    assert other.is_error
    assert "idempotency key was used before" in text_of(other)


async def test_a_job_is_canceled(app: FastAPI, store: RedisStore) -> None:
    async with assistant(app) as api, client(app) as http:
        job_id = await submit(http)
        assert f"{job_id} is canceled" in text_of(await api.call_tool("cancel", {"job_id": job_id}))
        answer = await api.call_tool("job", {"job_id": job_id})
        assert answer.is_error
        assert text_of(answer) == f"job {job_id} is canceled"


async def test_a_job_that_fails_says_why(app: FastAPI, store: RedisStore) -> None:
    async def act(held: Claim) -> None:
        await store.fail(held.lease, JobError(code="non_finite", detail="NaN at row 3"))

    async with assistant(app) as api, drawing(store, act):
        answer = await api.call_tool("draw", {"prompt": "a"})
    assert answer.is_error
    assert text_of(answer) == "NaN at row 3"


async def test_what_is_wrong_is_named(app: FastAPI, store: RedisStore) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("draw", {}, "prompt: required"),
        ("draw", {"prompt": "a", "width": 65}, "width 65 is not a multiple of"),
        ("draw", {"prompt": "a", "width": 4}, "width: "),
        ("draw", {"prompt": "a", "sampler": "eular"}, "unknown sampler 'eular'"),
        ("draw", {"prompt": "a", "model": "none"}, "unknown model 'none'; available: toy"),
        ("draw", {"prompt": "a", "clip_skip": 2}, "clip_skip: unknown field"),
        ("draw", {"prompt": "a", "output_format": "avif"}, "output_format: "),
        ("job", {"job_id": "../x"}, "there is no job '../x'"),
        ("models", {"model": "toy"}, "model: unknown field"),
    ]
    async with assistant(app) as api:
        for tool, arguments, said in wrong:
            answer = await api.call_tool(tool, arguments)
            assert answer.is_error
            assert said in text_of(answer)
    assert (await store.backlog("toy")).pending_jobs == 0


async def test_an_image_that_is_too_large_is_a_link(app: FastAPI, store: RedisStore) -> None:
    large = PNG + bytes(800_000)
    async with assistant(app) as api, drawing(store, lambda held: finish(store, held, large)):
        answer = await api.call_tool("draw", {"prompt": "a"})
    assert images_of(answer) == []
    assert f"(image/png of {len(large)} bytes: not included)" in text_of(answer)


async def test_keys_tenants_and_scopes_hold(keyed: Keyed, store: RedisStore) -> None:
    _, owner = await keyed.keys.create("a", frozenset({Scope.JOBS}))
    _, stranger = await keyed.keys.create("b", frozenset({Scope.JOBS}))
    _, reader = await keyed.keys.create("a", frozenset({Scope.METRICS}))
    for key, said in [
        (None, "an API key is required"),
        ("sfu_wrong", "unknown, revoked or expired"),
        (reader, "lacks the scope 'jobs'"),
    ]:
        with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match=said), flatten_subgroups=True):
            async with assistant(keyed.app, key):
                pass
    async with assistant(keyed.app, owner) as api:
        job_id = id_in(text_of(await api.call_tool("draw", {"prompt": "a", "wait_s": 0})))
    assert (await store.get(job_id)).spec.tenant == "a"
    async with assistant(keyed.app, stranger) as api:
        for tool in ("job", "cancel"):
            answer = await api.call_tool(tool, {"job_id": job_id})
            assert text_of(answer) == f"there is no job '{job_id}'"


async def test_limits_hold(app: FastAPI, store: RedisStore) -> None:
    settings = app.state.door.settings
    async with open_door(settings, max_listeners_per_caller=1) as (limited, _):
        with limited.state.door.listeners.listening("address 127.0.0.1"):
            async with assistant(limited) as api:
                answer = await api.call_tool("draw", {"prompt": "a"})
    assert "a caller may have 1 event streams" in text_of(answer)
    assert (await store.backlog("toy")).pending_jobs == 0
    async with open_door(settings, rate_limit=1, max_body_bytes=1024) as (limited, http):
        assert (await http.post("/mcp", json=MESSAGE, headers=ACCEPT)).status_code == 200
        answers = await http.post("/mcp", json=MESSAGE, headers=ACCEPT)
        assert answers.status_code == 429
        assert answers.json()["error"]["data"] == {"code": "rate_limited"}


async def test_what_is_no_message_is_refused_in_its_own_shape(app: FastAPI) -> None:
    async with open_door(app.state.door.settings, max_body_bytes=1024) as (_, http):
        refused: list[tuple[int, dict[str, Any]]] = [
            (406, {"json": MESSAGE, "headers": {"accept": "application/json"}}),
            (415, {"content": "{}", "headers": ACCEPT}),
            (413, {"json": MESSAGE | {"id": "1" * 2000}, "headers": ACCEPT}),
            (422, {"json": [MESSAGE], "headers": ACCEPT}),
            (400, {"json": {"jsonrpc": "2.0", "id": {}}, "headers": ACCEPT}),
        ]
        for status, options in refused:
            answer = await http.post("/mcp", **options)
            assert answer.status_code == status, answer.text
            assert answer.json()["jsonrpc"] == "2.0"
            assert answer.json()["error"]["message"]
        answer = await http.get("/mcp", headers=ACCEPT)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_a_page_may_call_if_its_origin_is_listed(app: FastAPI) -> None:
    settings = app.state.door.settings
    page = "https://app.example.org"
    async with open_door(settings, cors_origins=page) as (_, http):
        for origin, status in [(page, 200), ("http://door", 403), ("null", 403)]:
            headers = ACCEPT | {"origin": origin}
            answer = await http.post("/mcp", json=MESSAGE, headers=headers)
            assert answer.status_code == status
        assert answer.json()["error"]["data"] == {"code": "forbidden_origin"}


async def test_the_dialect_can_be_off(app: FastAPI) -> None:
    async with open_door(app.state.door.settings, dialects=()) as (_, http):
        answer = await http.post("/mcp", json=MESSAGE, headers=ACCEPT)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
