"""A server-sent event stream that notices when its client leaves or the door closes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from jobs.cancelling import end

SEND_TIMEOUT_S = 30.0
"""A client that takes nothing for so long has stopped reading."""
KEEP_ALIVE = b": keep-alive\n\n"
STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventStream(EventSourceResponse):
    """Sends frames as they come, and comments while there are none."""

    def __init__(
        self,
        frames: AsyncGenerator[bytes],
        *,
        keep_alive_s: float,
        closing: asyncio.Future[None],
        on_left: Callable[[], None],
        on_end: Callable[[], None],
        send_timeout_s: float = SEND_TIMEOUT_S,
    ) -> None:
        super().__init__(frames, headers=STREAM_HEADERS)
        self._frames = frames
        self._keep_alive_s = keep_alive_s
        self._closing = closing
        self._on_left = on_left
        self._on_end = on_end
        self._send_timeout_s = send_timeout_s
        self._sent_at = monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the frames end, the door closes, or the client leaves.

        A cancellation counts as leaving, but a process that stops looks the same at first, so
        ``on_left`` must give the door time to close before it acts.
        """
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if await self._sent(receive, send):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                self._on_left()
        except asyncio.CancelledError:
            self._on_left()  # Ray Serve signals a disconnect this way
            raise
        finally:
            self._on_end()

    async def _sent(self, receive: Receive, send: Send) -> bool:
        """Send frames; return False if the client left before they ended, or stopped reading."""
        pump = asyncio.create_task(self._pump(send))
        left = asyncio.create_task(disconnected(receive))
        stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def close(_: asyncio.Future[None]) -> None:
            if not stop.done():
                stop.set_result(None)

        self._closing.add_done_callback(close)
        try:
            awaited: set[asyncio.Future[Any]] = {pump, left, stop}
            while not (done := await self._one_of(awaited)):
                if self._silent_s() >= self._keep_alive_s:
                    await self._send(send, KEEP_ALIVE)
            if pump in done:
                pump.result()
            return left not in done or pump in done
        except TimeoutError:
            return False
        finally:
            self._closing.remove_done_callback(close)
            await end(pump, left)
            await self._frames.aclose()

    async def _one_of(self, awaited: set[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
        """Return which of these are done, none if the client has to hear something first."""
        rest_s = max(0.0, self._keep_alive_s - self._silent_s())
        done, _ = await asyncio.wait(awaited, timeout=rest_s, return_when=asyncio.FIRST_COMPLETED)
        return done

    def _silent_s(self) -> float:
        return monotonic() - self._sent_at

    async def _pump(self, send: Send) -> None:
        async for frame in self._frames:
            await self._send(send, frame)

    async def _send(self, send: Send, frame: bytes) -> None:
        """Send a frame, whole. Raises: TimeoutError if the client does not read."""
        async with asyncio.timeout(self._send_timeout_s):
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        self._sent_at = monotonic()


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected; the request's body has to be read already."""
    while (await receive())["type"] != "http.disconnect":
        pass
