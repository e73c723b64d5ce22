"""One job's new events, read once and handed to all of its listeners in a process."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from jobs.store import Event

MAX_WAITING = 64
"""Events that wait for a slow listener; it reads what it missed by itself."""
GROUP = 8
"""Listeners that are woken at once: other work of the event loop comes between two groups."""


def position(event_id: str) -> tuple[int, int]:
    """Return an id as its order is: milliseconds and a number."""
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)


class Listener:
    """What one listener has still to be given."""

    def __init__(self) -> None:
        self.waiting: list[Event] = []
        self.behind = True  # it has to read by itself, once, before it can be given events
        self.wake = asyncio.Event()

    def give(self, events: Sequence[Event]) -> None:
        """Let events wait for the listener; if there are too many it has to read them again."""
        self.waiting.extend(events)
        if len(self.waiting) > MAX_WAITING:
            self.fall_behind()
        self.wake.set()

    def fall_behind(self) -> None:
        """Make the listener read by itself."""
        self.waiting.clear()
        self.behind = True
        self.wake.set()

    async def next(self) -> tuple[Event, ...]:
        """Return what has come, nothing if the listener has to read by itself."""
        while not self.waiting and not self.behind:
            self.wake.clear()
            await self.wake.wait()
        come = tuple(self.waiting)
        self.waiting.clear()
        return come


class Channel:
    """The listeners of one job, and how far its stream has been read for them."""

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.wake = asyncio.Event()  # the stream has grown, or may have
        self.after: str | None = None  # None until a listener has caught up with the stream
        self.failed: Exception | None = None  # what reading raised; each listener raises it
        self.task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Listener]:
        """Yield a listener that is given new events for the length of the block."""
        listener = Listener()
        self.listeners.add(listener)
        try:
            yield listener
        finally:
            self.listeners.discard(listener)

    async def give(self, events: Sequence[Event]) -> None:
        """Give every listener these events."""
        for number, listener in enumerate(tuple(self.listeners), 1):
            listener.give(events)
            if number % GROUP == 0:
                await asyncio.sleep(0)

    def send_back(self) -> None:
        """Make every listener read by itself."""
        for listener in self.listeners:
            listener.fall_behind()
