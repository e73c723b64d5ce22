"""How many pictures the engine holds: a place is taken before a job is claimed."""

import asyncio
from collections import deque


class Permits:
    """A counted semaphore on one event loop whose waiters can be sent away all at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._closed = False

    @property
    def free(self) -> int:
        """Places that nobody holds."""
        return self.count - self.taken

    async def acquire(self) -> bool:
        """Take a place, waiting for one; False once the permits are closed."""
        if self._closed:
            return False
        if self.try_acquire():
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def try_acquire(self) -> bool:
        """Take a place if one is free."""
        if self._closed or self.free <= 0:
            return False
        self.taken += 1
        return True

    def release(self, count: int = 1) -> None:
        """Give places back."""
        self.taken -= count
        while self._waiting and self.free > 0:
            self.taken += 1
            self._waiting.popleft().set_result(True)

    def close(self) -> None:
        """Send every waiter away; nothing is handed out any more."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().set_result(False)
