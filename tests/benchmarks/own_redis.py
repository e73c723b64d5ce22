"""A Redis server of a benchmark's own."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.redis_server import redis_server


@contextlib.contextmanager
def own_redis() -> Iterator[tuple[str, Path]]:
    """Run a server for the length of the block; yield its URL and a scratch folder."""
    with TemporaryDirectory() as folder, redis_server(Path(folder) / "redis") as url:
        yield url, Path(folder)


def on_redis(measure: Callable[[str], Coroutine[Any, Any, dict[str, Any]]]) -> dict[str, Any]:
    """Return what a benchmark measures on a server of its own; it is given the URL."""
    with own_redis() as (url, _):
        return asyncio.run(measure(url))
