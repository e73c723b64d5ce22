"""No body of the allowed size is dear on the routes of dialects either."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from pydantic import BaseModel

from service.dialects.a1111.png_info import Info
from service.dialects.a1111.text_to_image import TextToImage as WebUI
from service.dialects.fal.arguments import Arguments
from service.dialects.hugging_face import TextToImage
from service.dialects.mcp import Drawing
from service.dialects.openai_images import ImageGeneration
from service.dialects.replicate.dialect import NewPrediction, NewPredictionOfVersion
from tests.service.http.test_request_cost import JSON, LONGEST_S, SIZE, VALUES, parts

HOSTILE = "HOSTILE"
ACCEPT = {"accept": "application/json, text/event-stream"}
Place = tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """A route that takes a body, and one that it would not accept but reads to the end."""

    path: str
    body: Mapping[str, Any]
    model: type[BaseModel] | None = None
    within: Place = ()  # where in the body the model is
    more: tuple[Place, ...] = ()  # further places, whose values no model describes
    statuses: tuple[int, ...] = (400, 404, 422)
    most_bytes: int = 8192  # of an answer

    def places(self) -> Iterator[Place]:
        """Yield every place of a hostile value."""
        yield from self.more
        for each in parts(self.model) if self.model else ():
            yield (*self.within, *each)


def call(tool: str) -> dict[str, Any]:
    params = {"name": tool, "arguments": {}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


ROUTES = (
    Route("/v1/images/generations", {"prompt": "a", "seed": -1}, ImageGeneration),
    Route("/models/toy", {"inputs": "a", "parameters": {"seed": -1}}, TextToImage),
    Route("/hf-inference/models/toy", {"inputs": "a", "parameters": {"seed": -1}}, TextToImage),
    Route(
        "/sdapi/v1/txt2img", {"steps": 0}, WebUI,
        more=(
            ("styles",), ("comments",), ("override_settings", "sd_model_checkpoint"),
            ("alwayson_scripts", "a"), ("alwayson_scripts", "a", "args"),
        ),
    ),
    Route("/sdapi/v1/options", {}, more=((), ("sd_model_checkpoint",))),
    Route("/sdapi/v1/png-info", {}, Info, more=(("image",),)),
    Route("/fal/run/fal-ai/toy", {"prompt": "a", "seed": -1}, Arguments),
    Route("/fal/run/fal-ai/toy/stream", {"prompt": "a", "seed": -1}, Arguments),
    Route("/fal/queue/fal-ai/toy", {"prompt": "a", "seed": -1}, Arguments),
    Route(
        "/v1/predictions", {"version": "sfumato/toy", "input": {"prompt": "a", "seed": -1}},
        NewPredictionOfVersion,
    ),
    Route(
        "/v1/models/sfumato/toy/predictions", {"input": {"prompt": "a", "seed": -1}}, NewPrediction
    ),
    Route(
        "/mcp", call("draw"), Drawing, ("params", "arguments"),
        ((), ("id",), ("method",), ("params",), ("params", "_meta"), ("params", "name")),
        (200, 202, 400, 422), SIZE,  # JSON-RPC repeats an id, and reports errors with 200
    ),
)  # fmt: skip


def placed(route: Route, place: Place, text: str) -> bytes:
    """Return a route's body with this JSON text at a place."""
    if not place:
        return text.encode()
    body: dict[str, Any] = deepcopy(dict(route.body))
    within = body
    for name in place[:-1]:
        within = within.setdefault(name, {})
    within[place[-1]] = HOSTILE
    return json.dumps(body).replace(f'"{HOSTILE}"', text).encode()


def test_every_route_that_takes_a_body_is_called(app: FastAPI) -> None:
    found = {path for path, does in app.openapi()["paths"].items() if "requestBody" in str(does)}
    assert len(found) == len(ROUTES) + 1, "and POST /v1/jobs"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
async def test_a_hostile_body_is_refused_cheaply_and_in_few_words(
    http: AsyncClient, slept: list[float], route: Route
) -> None:
    await http.get("/v1/models")
    for place, (name, text) in product(sorted(set(route.places())), VALUES.items()):
        body = placed(route, place, text)
        assert len(body) <= SIZE, (place, name)
        longest = 1.0
        for _ in range(5):  # memory may be collected meanwhile
            slept.clear()
            answer = await http.post(route.path, content=body, headers=JSON | ACCEPT)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if (longest := min(longest, max(slept))) < LONGEST_S:
                break
        assert longest < LONGEST_S, (place, name)
        assert answer.status_code in route.statuses, (place, name, answer.text[:200])
        assert len(answer.content) < route.most_bytes, (place, name)
