"""Cancelling tasks that talk to Redis."""

import asyncio
from typing import Any

RETRY_S = 0.05


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until all of them have ended, whatever their outcome.

    Before Python 3.12, ``asyncio.wait_for``, which redis-py writes under, can lose a cancellation
    that arrives just as its inner task finishes, so it is repeated until the task ends.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=RETRY_S)
    await asyncio.gather(*tasks, return_exceptions=True)
