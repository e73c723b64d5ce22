"""Reports from the engine thread to the event loop, with at most one wake-up pending."""

import asyncio
from collections import deque

from workers.engine.messages import Report


class Mailbox:
    """Many puts from any thread, one reader on an event loop.

    Waking the loop costs the putting thread a system call, so it happens only if the reader has
    emptied the box since the last time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._reports: deque[Report] = deque()
        self._filled = asyncio.Event()
        self._woken = False

    def put(self, report: Report) -> None:
        """Leave a report. Thread-safe."""
        self._reports.append(report)
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._filled.set)

    async def wait(self) -> list[Report]:
        """Return all reports, waiting for one."""
        await self._filled.wait()
        self._filled.clear()
        self._woken = False
        taken = []
        while self._reports:
            taken.append(self._reports.popleft())
        return taken
