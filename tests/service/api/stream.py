"""Reading server-sent events line by line, as they are on the wire."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Frame:
    """One event of a stream, or a comment where ``kind`` is empty."""

    kind: str
    data: dict[str, Any]
    id: str | None


async def lines(answer: httpx.Response) -> AsyncIterator[str]:
    """Yield the stream's lines; only the line feeds that the door sends end one."""
    kept = ""
    async for text in answer.aiter_text():
        *whole, kept = (kept + text).split("\n")
        for line in whole:
            yield line


async def frames(answer: httpx.Response) -> AsyncIterator[Frame]:
    """Yield the stream's events and comments."""
    fields: dict[str, str] = {}
    async for line in lines(answer):
        if line.startswith(":"):
            yield Frame("", {}, None)
        elif line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield Frame(fields["event"], json.loads(fields["data"]), fields.get("id"))
            fields = {}
