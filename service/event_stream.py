"""A server-sent event stream that knows whether its client left or the door closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from jobs.cancelling import end

KEEP_ALIVE = b": keep-alive\n\n"


class EventStream(EventSourceResponse):
    """Sends frames as they come, and comments while none do."""

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        *,
        keep_alive_s: float,
        closing: asyncio.Future[None],
        on_left: Callable[[], None],
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, headers=headers)
        self._frames = frames
        self._keep_alive_s = keep_alive_s
        self._closing = closing
        self._on_left = on_left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the frames end, the door closes, or the client leaves.

        A cancellation counts as leaving: a stop of the process looks the same for a moment, so
        ``on_left`` must not act before the door has had time to close.
        """
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        left = asyncio.create_task(_left(receive))
        try:
            finished = await self._pump(send, left)
        except asyncio.CancelledError:
            self._on_left()  # Ray Serve tells of a disconnect this way
            raise
        finally:
            await end(left)
        if finished:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            self._on_left()

    async def _pump(self, send: Send, left: asyncio.Task[None]) -> bool:
        """Send frames; return False when the client left before they ended."""
        frames = aiter(self._frames)
        coming = asyncio.ensure_future(anext(frames, None))
        try:
            while True:
                awaited: set[asyncio.Future[Any]] = {coming, left, self._closing}
                done, _ = await asyncio.wait(
                    awaited,
                    timeout=self._keep_alive_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if self._closing in done:
                    return True
                if left in done:
                    return False
                frame = KEEP_ALIVE
                if coming in done:
                    ready = coming.result()
                    if ready is None:
                        return True
                    frame = ready
                    coming = asyncio.ensure_future(anext(frames, None))
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        finally:
            await end(coming)
            close = getattr(frames, "aclose", None)
            if close is not None:
                await close()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
