"""Ending tasks that talk to Redis."""

import asyncio
from typing import Any

AGAIN_S = 0.05


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until all of them have ended, however they end.

    Before Python 3.12 ``asyncio.wait_for``, under which redis-py writes, loses a cancellation that
    comes while its inner task is just done; so one is sent until it is heard.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
