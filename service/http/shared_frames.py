"""Frames of event streams that are made once for all who follow a job."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic

TTL_S = 1.0
MOST = 64


class SharedFrames:
    """Remembers the latest frames for a moment: a thousand listeners ask for one at once."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, tuple[float, asyncio.Future[bytes]]] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the frame of this key, made by the first who asks for it."""
        made_at, frame = self._made.get(key, (0.0, None))
        if frame is None or monotonic() - made_at > TTL_S:
            frame = asyncio.ensure_future(make())
            self._made[key] = (monotonic(), frame)
            while len(self._made) > MOST:
                self._made.popitem(last=False)
        return frame.result() if frame.done() else await asyncio.shield(frame)
