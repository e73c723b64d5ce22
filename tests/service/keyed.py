"""A door that requires API keys, and callers that have some."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from httpx import AsyncClient

from jobs.settings import JobsSettings
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from tests.service.doors import client, open_door

SECRET = "0123456789abcdef" * 4


class Keyed:
    """A door that requires API keys."""

    def __init__(self, app: FastAPI, keys: KeyStore) -> None:
        self.app = app
        self.keys = keys

    def client(self, text: str | None) -> AsyncClient:
        """Return a client with this key."""
        return client(self.app, text)

    async def caller(self, tenant: str, *scopes: Scope) -> AsyncClient:
        """Return a client of this tenant, with a key of its own."""
        _, text = await self.keys.create(tenant, frozenset(scopes or [Scope.JOBS]))
        return self.client(text)


@contextlib.asynccontextmanager
async def keyed_door(shared: JobsSettings, **changes: object) -> AsyncIterator[Keyed]:
    """Yield a door that requires API keys."""
    fields = {"auth": "keys", "url_secrets": SECRET, "disconnect_grace_s": 0.05} | changes
    keys = KeyStore(shared)
    try:
        async with open_door(shared, **fields) as (app, _):
            yield Keyed(app, keys)
    finally:
        await keys.close()
