"""The Lua transitions, loaded once and run by name."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from jobs.latency import LATENCY_BOUNDS_S
from jobs.schema import SCHEMA_VERSION
from jobs.settings import JobsSettings

NAMES = (
    "create", "claim", "renew", "progress", "preview", "checkpoint", "add_image",
    "finish", "requeue", "cancel", "delete", "sweep", "position",
    "take_deliveries", "settle_delivery", "redeliver", "purge",
)  # fmt: skip
SHARED = ("prelude", "quota", "order", "outbox", "life")  # what every script begins with
_SETTINGS = {
    "lease_s", "max_backlog_units", "max_deaths", "suspect_deaths", "result_ttl_s", "record_ttl_s",
    "idempotency_ttl_s", "max_results_bytes", "events_kept", "previews_kept",
    "suspect_wait_s", "tenant_weight", "tenant_max_units", "class_share", "patience_s",
    "park_after_s",
}  # fmt: skip


class Scripts:
    """Runs ``jobs/lua/<name>.lua`` behind the files that all scripts share."""

    def __init__(self, redis: "Redis", prefix: str, settings: JobsSettings) -> None:
        lua = files("jobs") / "lua"

        def text(name: str) -> str:
            return "\n".join((lua / f"{part}.lua").read_text() for part in (*SHARED, name))

        self._scripts: dict[str, AsyncScript] = {
            name: redis.register_script(text(name)) for name in NAMES
        }
        self._redis = redis
        self._prefix = prefix
        chosen = settings.model_dump(include=_SETTINGS) | {
            "schema_version": SCHEMA_VERSION,
            "latency_bounds": [f"{bound:g}" for bound in LATENCY_BOUNDS_S],
        }
        self._settings = orjson.dumps(chosen)

    async def __call__(self, name: str, arguments: dict[str, Any], *blobs: bytes) -> Any:
        """Run one transition."""
        return await self._scripts[name](
            keys=[self._prefix], args=[orjson.dumps(arguments), self._settings, *blobs]
        )

    def queue(self, pipe: Any, name: str, arguments: dict[str, Any], *blobs: bytes) -> None:
        """Put one transition into a pipeline for :meth:`execute`."""
        sha, parameters = self._scripts[name].sha, orjson.dumps(arguments)
        pipe.evalsha(sha, 1, self._prefix, parameters, self._settings, *blobs)

    async def execute(self, fill: Callable[[Any], None]) -> Any:
        """Run a pipeline in one round trip; a server that has lost the scripts is given them.

        redis-py's own pipelines ask every time whether the server has them. What is in a pipeline
        may run twice and must bear it.
        """
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
