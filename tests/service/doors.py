"""Doors in the test's own process and event loop, and clients of them."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from httpx import AsyncClient

from jobs.settings import JobsSettings
from service.application import create_app
from service.settings import ServiceSettings


def client(app: FastAPI, key: str | None = None, address: str = "127.0.0.1") -> AsyncClient:
    """Return a client that calls the application from this address, with this API key."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, client=(address, 1))
    return AsyncClient(transport=transport, base_url="http://door", headers=headers)


@contextlib.asynccontextmanager
async def open_door(
    shared: JobsSettings, **changes: object
) -> AsyncIterator[tuple[FastAPI, AsyncClient]]:
    """Yield an application and a client of it, for the length of its lifespan."""
    app = create_app(ServiceSettings.model_validate(shared.model_dump() | changes))
    async with app.router.lifespan_context(app), client(app) as http:
        yield app, http


async def submit(http: AsyncClient, headers: dict[str, str] | None = None, **fields: object) -> str:
    """Submit a job; return its id."""
    answer = await http.post("/v1/jobs", json={"prompt": "a red apple"} | fields, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
