"""No request of the allowed size is dear: bodies, queries and headers made to be."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from httpx import AsyncClient
from pydantic import BaseModel

from jobs.schema import JobRequest
from jobs.settings import JobsSettings
from service.http.problem import MAX_ERRORS
from tests.service.doors import open_door

SIZE = 1024 * 1024
JSON = {"content-type": "application/json"}
LONGEST_S = 0.05
COLLECTIONS = (list, tuple, dict, set, frozenset)


def parts(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every model and every collection in a request model."""
    yield path
    for name, field in model.model_fields.items():
        for kind in kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from parts(kind, (*path, name))
            elif kind in COLLECTIONS:
                yield (*path, name)


def kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types in an annotation, of generics their origin."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated):
        for each in get_args(annotation):
            yield from kinds(each)
    else:
        yield origin or annotation


def at(path: tuple[str, ...], text: str) -> bytes:
    """Return a body that has this JSON text at a path, and what else is required."""
    for name in reversed(path):
        rest = {"webhook": '"url": "https://a.example/", '}
        text = f'{{{rest.get("".join(path[:-1]), "") if name == path[-1] else ""}"{name}": {text}}}'
    return (f'{{"prompt": "a", {text[1:]}' if path else text).encode()


def filled(size: int, member: str) -> str:
    return ",".join(member for _ in range(size // (len(member) + 1) - 64))


def members(count: int, value: str) -> str:
    return "{" + ",".join(f'"{number:05x}":{value}' for number in range(count)) + "}"


PATHS = sorted(set(parts(JobRequest)))
VALUES = {
    "a list of bad members": "[" + filled(SIZE, "1") + "]",
    "a list that just passes": "[" + ",".join("1" for _ in range(32_000)) + "]",
    "empty lists": "[" + filled(SIZE, "[]") + "]",
    "nested lists": "[" + filled(SIZE, "[[[[[[[[]]]]]]]]") + "]",
    "an object of bad members": members(100_000, "1"),
    "an object that just passes": members(32_000, "1"),
    "deep nesting": "[" * 900 + "]" * 900,
    "deepest nesting": "[" * 500_000,
    "one key again and again": "{" + filled(SIZE, '"a":1') + "}",
    "a long string": '"' + "\\u00e9" * 170_000 + '"',
    "a long number": "9" * 4_000,
    "a longer number": "9" * 1_000_000,
    "a long fraction": "0." + "1" * 1_000_000,
    "a large exponent": "1e999999999",
}


@pytest.fixture
async def slow_door(jobs_settings: JobsSettings, announced: None) -> AsyncIterator[AsyncClient]:
    """Return a client of a door that soon gives up a body."""
    async with open_door(jobs_settings, body_timeout_s=0.1) as (_, http):
        yield http


def test_every_part_of_a_request_is_found() -> None:
    assert {(), ("metadata",), ("webhook",), ("webhook", "events")} <= set(PATHS)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(path) or "body")
async def test_hostile_body_is_refused_in_few_words(
    http: AsyncClient, path: tuple[str, ...]
) -> None:
    await http.get("/v1/models")
    for name, text in VALUES.items():
        body = at(path, text)
        assert len(body) <= SIZE, (name, len(body))
        answer = await http.post("/v1/jobs", content=body, headers=JSON)
        assert answer.status_code in (400, 422), (name, answer.text[:200])
        assert len(answer.json()["errors"]) <= MAX_ERRORS
        assert len(answer.content) < 8192, name


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(path) or "body")
async def test_hostile_body_does_not_hold_up_others(
    http: AsyncClient, slept: list[float], path: tuple[str, ...]
) -> None:
    await http.get("/v1/models")
    for name, text in VALUES.items():
        body = at(path, text)
        longest = 1.0
        for _ in range(3):  # memory may be collected meanwhile
            slept.clear()
            await http.post("/v1/jobs", content=body, headers=JSON)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            longest = min(longest, max(slept))
        assert longest < LONGEST_S, name


async def test_problem_says_how_many_errors_it_leaves_out(http: AsyncClient) -> None:
    unknown = {f"field_{number}": 1 for number in range(10)}
    body = {"prompt": "a", "metadata": {f"key_{n}": n for n in range(32)}} | unknown
    problem = (await http.post("/v1/jobs", json=body)).json()
    assert len(problem["errors"]) == MAX_ERRORS
    assert problem["detail"].endswith("; 37 more")


async def test_largest_request_is_accepted(http: AsyncClient) -> None:
    body = {
        "prompt": ",[" * 2000,
        "negative_prompt": ",{" * 2000,
        "metadata": {f"{'[,' * 31}{number:02}": ",[" * 256 for number in range(32)},
    }
    answer = await http.post("/v1/jobs", content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["metadata"] == body["metadata"]


async def test_slow_body_is_given_up(slow_door: AsyncClient) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b'{"prompt": '
        await asyncio.sleep(30)

    answer = await slow_door.post("/v1/jobs", content=never(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
