"""Upper bounds on request bodies: their size, the JSON values in them, and how long they take."""

import asyncio

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.problem import Refusal, problem_response

MAX_VALUES = 32_768
"""Commas and opening brackets in a body. Longest prompts and metadata may have 26,500 of them;
parsing a body of a megabyte that has nothing else would hold up all other requests."""


class BodyLimit:
    """ASGI middleware that refuses large bodies (413), dear ones (400) and slow ones (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._detail = f"the body exceeds {max_bytes} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless its body is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_bytes:
            refusal = Refusal(413, "body_too_large", self._detail)
            await problem_response(scope, refusal)(scope, receive, send)
            return
        door = scope["app"].state.door
        await self._app(scope, self._bounded(receive, door.closing), send)

    def _bounded(self, receive: Receive, closing: asyncio.Future[None]) -> Receive:
        size = values = 0
        deadline: float | None = asyncio.get_running_loop().time() + self._timeout_s

        async def bounded() -> Message:
            # While FastAPI reads a body it lets through no exception but its own.
            nonlocal size, values, deadline
            try:
                message = await _by(deadline, receive, closing)
            except TimeoutError:
                detail = f"the body did not arrive within {self._timeout_s:g} s"
                raise HTTPException(408, detail, {"connection": "close"}) from None
            body = message.get("body", b"")
            size += len(body)
            values += sum(map(body.count, (b",", b"[", b"{")))
            if size > self._max_bytes:
                raise HTTPException(413, self._detail)
            if values > MAX_VALUES:
                raise HTTPException(400, f"the body has more than {MAX_VALUES} JSON values")
            if not message.get("more_body", False):
                deadline = None  # what comes next is the client's departure
            return message

        return bounded


async def _by(deadline: float | None, receive: Receive, closing: asyncio.Future[None]) -> Message:
    """Return the next message. Raises: TimeoutError, there is a deadline and it or the door's end
    comes first.
    """
    if deadline is None:
        return await receive()
    async with asyncio.timeout_at(deadline) as timeout:

        def give_up(_: asyncio.Future[None]) -> None:
            timeout.reschedule(0.0)

        closing.add_done_callback(give_up)
        try:
            return await receive()
        finally:
            closing.remove_done_callback(give_up)
