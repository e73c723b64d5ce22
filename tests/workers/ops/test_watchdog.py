"""A worker that hangs ends by itself; one that recovers, or waits, does not."""

import contextlib
import os
import subprocess
import sys
import time

from workers.ops.watchdog import Watchdog

HANGING = """
import time
from workers.ops.watchdog import Watchdog

Watchdog(lambda: ["the engine has not ticked"], 0.2)
time.sleep(150)
"""


def test_a_worker_that_hangs_ends_with_a_reason() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, timeout=200)
    assert ended.returncode == os.EX_SOFTWARE
    assert b"the engine has not ticked" in ended.stdout + ended.stderr


def test_a_hang_that_passes_is_forgiven() -> None:
    looks = 0

    def now_and_then() -> list[str]:
        nonlocal looks
        looks += 1
        return ["slow"] if looks % 2 else []

    with contextlib.closing(Watchdog(now_and_then, 0.4)):
        while looks < 6:
            time.sleep(0.01)
