"""The Lua transitions, loaded once and run by name."""

from importlib.resources import files
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from jobs.settings import JobsSettings

NAMES = (
    "create", "claim", "renew", "progress", "preview", "checkpoint", "add_image",
    "finish", "requeue", "cancel", "delete", "sweep",
)  # fmt: skip
_SETTINGS = {
    "lease_s", "max_backlog_units", "max_deaths", "suspect_deaths", "result_ttl_s", "record_ttl_s",
    "idempotency_ttl_s", "max_results_bytes", "events_kept", "previews_kept",
}  # fmt: skip


class Scripts:
    """Runs ``jobs/lua/<name>.lua`` behind the shared prelude."""

    def __init__(self, redis: "Redis", prefix: str, settings: JobsSettings) -> None:
        lua = files("jobs") / "lua"
        prelude = (lua / "prelude.lua").read_text()
        self._scripts: dict[str, AsyncScript] = {
            name: redis.register_script(f"{prelude}\n{(lua / f'{name}.lua').read_text()}")
            for name in NAMES
        }
        self._prefix = prefix
        self._settings = orjson.dumps(settings.model_dump(include=_SETTINGS))

    async def __call__(
        self, name: str, arguments: dict[str, Any], *blobs: bytes, pipeline: Any = None
    ) -> Any:
        """Run one transition; with a pipeline, queue it there instead."""
        return await self._scripts[name](
            keys=[self._prefix],
            args=[orjson.dumps(arguments), self._settings, *blobs],
            client=pipeline,
        )
