"""The engine's slots as a semaphore: one is acquired before a job is claimed."""

import asyncio
from collections import deque


class SlotSemaphore:
    """A counting semaphore on one event loop that can be closed, which sends its waiters away."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._closed = False

    async def acquire(self) -> bool:
        """Take a slot, waiting for one; return False once the semaphore is closed."""
        if self._closed:
            return False
        if self.try_acquire():
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def try_acquire(self) -> bool:
        """Take a slot if one is free."""
        if self._closed or self.free <= 0:
            return False
        self.free -= 1
        return True

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        self.free += count
        while self._waiting and self.free > 0:
            self.free -= 1
            self._waiting.popleft().set_result(True)

    def close(self) -> None:
        """Send every waiter away and hand out no more slots."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().set_result(False)
