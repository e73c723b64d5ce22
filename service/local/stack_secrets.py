"""Secrets that `sfumato up` keeps in its data folder, readable by their owner only."""

import asyncio
import os
import secrets
from pathlib import Path

from jobs.schema import PUBLIC
from jobs.settings import JobsSettings, read_environment
from service.auth.api_key import parse
from service.auth.key_store import KeyStore
from service.auth.scope import Scope

REDIS_URL = "redis-url"
OPERATOR_KEY = "operator-key"
URL_SECRET = "url-secret"  # nosec B105 # a file's name
REDIS_CONFIG = "redis.conf"
REDIS_PASSWORD = "redis-password"  # nosec B105 # likewise


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.unlink(missing_ok=True)  # an existing file would keep its mode
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")


def read_private(path: Path) -> str | None:
    """Return what :func:`write_private` wrote, None if there is no file."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def keys_wanted() -> bool:
    """Return whether the environment makes the door require keys."""
    return os.environ.get("SFUMATO_AUTH", "off") == "keys"


def url_secret(data: Path) -> str:
    """Return the data folder's secret for signing links, made when first needed."""
    return _secret(data / URL_SECRET)


def redis_password(data: Path) -> str:
    """Return the password of the data folder's Redis, made when first needed."""
    return _secret(data / REDIS_PASSWORD)


def _secret(path: Path) -> str:
    if (kept := read_private(path)) is None:
        kept = secrets.token_hex(32)
        write_private(path, kept)
    return kept


def operator_key(data: Path, redis_url: str) -> str:
    """Return the data folder's operator key; make one if there is none or it is invalid."""
    settings = read_environment(JobsSettings).model_copy(update={"redis_url": redis_url})
    return asyncio.run(_operator_key(data / OPERATOR_KEY, settings))


async def _operator_key(path: Path, settings: JobsSettings) -> str:
    store = KeyStore(settings)
    try:
        kept = read_private(path)
        parts = parse(kept) if kept else None
        if kept and parts and await store.find(parts[0]):
            return kept
        _, text = await store.create(PUBLIC, frozenset({Scope.OPERATOR}), label="sfumato up")
        write_private(path, text)
        return text
    finally:
        await store.close()
