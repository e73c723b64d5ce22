"""A door that asks for keys, and callers that have some."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI

from jobs.settings import JobsSettings
from service.application import create_app
from service.key_store import KeyStore
from service.scope import Scope
from service.settings import ServiceSettings

SECRET = "0123456789abcdef" * 4


class Keyed:
    """A door that asks for keys."""

    def __init__(self, app: FastAPI, keys: KeyStore) -> None:
        self.app = app
        self.keys = keys

    def client(self, text: str | None) -> httpx.AsyncClient:
        """Return a client that sends this key with everything."""
        headers = {} if text is None else {"authorization": f"Bearer {text}"}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://door", headers=headers)

    async def caller(self, tenant: str, *scopes: Scope) -> httpx.AsyncClient:
        """Return a client of this tenant, with a key of its own."""
        _, text = await self.keys.create(tenant, frozenset(scopes or [Scope.JOBS]))
        return self.client(text)


@contextlib.asynccontextmanager
async def keyed_door(shared: JobsSettings, **changes: object) -> AsyncIterator[Keyed]:
    """Yield a door that asks for keys."""
    fields = (
        shared.model_dump()
        | {"auth": "keys", "url_secrets": SECRET, "disconnect_grace_s": 0.05}
        | changes
    )
    settings = ServiceSettings.model_validate(fields)
    app, keys = create_app(settings), KeyStore(settings)
    try:
        async with app.router.lifespan_context(app):
            yield Keyed(app, keys)
    finally:
        await keys.close()
