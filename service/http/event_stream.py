"""A server-sent event stream that notices when its client leaves or the door closes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from jobs.cancelling import end

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
    ) -> None:
        super().__init__(frames, headers=STREAM_HEADERS)
        self._frames = frames
        self._keep_alive_s = keep_alive_s
        self._closing = closing
        self._on_left = on_left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the frames end, the door closes, or the client leaves.

        A cancellation counts as leaving, but a process that stops looks the same at first, so
        ``on_left`` must give the door time to close before it acts.
        """
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        left = asyncio.create_task(disconnected(receive))
        try:
            finished = await self._pump(send, left)
        except asyncio.CancelledError:
            self._on_left()  # Ray Serve signals a disconnect this way
            raise
        finally:
            await end(left)
        if finished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            self._on_left()

    async def _pump(self, send: Send, left: asyncio.Task[None]) -> bool:
        """Send frames; return False if the client left before they ended."""
        coming = asyncio.ensure_future(anext(self._frames, None))
        try:
            while True:
                awaited: set[asyncio.Future[Any]] = {coming, left, self._closing}
                done, _ = await asyncio.wait(
                    awaited, timeout=self._keep_alive_s, return_when=asyncio.FIRST_COMPLETED
                )
                if self._closing in done:
                    return True
                if left in done:
                    return False
                frame: bytes | None = KEEP_ALIVE
                if coming in done:
                    frame = coming.result()
                    if frame is None:
                        return True
                    coming = asyncio.ensure_future(anext(self._frames, None))
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        finally:
            await end(coming)
            await self._frames.aclose()


async def disconnected(receive: Receive) -> None:
    """Return once the client has disconnected; the request's body has to be read already."""
    while (await receive())["type"] != "http.disconnect":
        pass
