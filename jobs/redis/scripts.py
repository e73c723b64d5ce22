"""The Lua transitions, loaded once and run by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from jobs.latency import LATENCY_BOUNDS_S
from jobs.redis.connection import ask
from jobs.schema import SCHEMA_VERSION
from jobs.settings import JobsSettings

LUA = Path(__file__).parent / "lua"
SHARED = (
    "prelude",
    "quota",
    "order",
    "outbox",
    "helpers",
    "life",
    "vanished",
)  # prepended to every script
_SETTINGS = {
    "lease_s", "max_backlog_units", "max_deaths", "suspect_deaths", "result_ttl_s", "record_ttl_s",
    "idempotency_ttl_s", "max_results_bytes", "max_records_bytes", "events_kept", "previews_kept",
    "suspect_wait_s", "tenant_weight", "tenant_max_units", "tenant_backlog_share",
    "class_share", "patience_s",
    "park_after_s",
}  # fmt: skip


class Scripts:
    """Runs ``jobs/redis/lua/<name>.lua``, with the shared files prepended."""

    def __init__(self, redis: "Redis", prefix: str, settings: JobsSettings) -> None:
        shared = [LUA / "shared" / f"{part}.lua" for part in SHARED]
        self._scripts = {
            path.relative_to(LUA).with_suffix("").as_posix(): redis.register_script(
                "\n".join(part.read_text() for part in (*shared, path))
            )
            for path in LUA.rglob("*.lua")
            if path not in shared
        }
        self._redis = redis
        self._prefix = prefix
        chosen = settings.model_dump(include=_SETTINGS) | {
            "schema_version": SCHEMA_VERSION,
            "latency_bounds": [f"{bound:g}" for bound in LATENCY_BOUNDS_S],
        }
        self._settings = orjson.dumps(chosen)

    async def __call__(self, name: str, arguments: dict[str, Any]) -> Any:
        """Run one transition. Raises: TransientStoreError."""
        parameters = [orjson.dumps(arguments), self._settings]
        return await ask(self._scripts[name](keys=[self._prefix], args=parameters))

    def queue(self, pipe: Any, name: str, arguments: dict[str, Any], *blobs: bytes) -> None:
        """Add one transition to a pipeline of :meth:`execute`."""
        sha, parameters = self._scripts[name].sha, orjson.dumps(arguments)
        pipe.evalsha(sha, 1, self._prefix, parameters, self._settings, *blobs)

    async def execute(self, fill: Callable[[Any], None]) -> Any:
        """Run a pipeline in one round trip, and again if the server had to be given the scripts.

        redis-py's own pipelines check for the scripts every time. The contents of a pipeline may
        run twice, so they must be idempotent.

        Raises:
            TransientStoreError: Redis does not answer, or accepts no writes.
        """
        return await ask(self._execute(fill))

    async def _execute(self, fill: Callable[[Any], None]) -> Any:
        try:
            return await self._filled(fill).execute()
        except NoScriptError:
            for script in self._scripts.values():
                await self._redis.script_load(script.script)
            return await self._filled(fill).execute()

    def _filled(self, fill: Callable[[Any], None]) -> Any:
        pipe = self._redis.pipeline(transaction=False)
        fill(pipe)
        return pipe
