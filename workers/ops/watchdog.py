"""Ends a worker that hangs, so that its supervisor restarts it."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic

from workers.ops.ending import end_process

LOOK_S = 1.0


class Watchdog:
    """A thread that watches the others; it cannot run while something holds the GIL."""

    def __init__(
        self,
        why_not_live: Callable[[], Sequence[str]],
        patience_s: float,
        stops_in_vain: Callable[[], bool] = lambda: False,
    ) -> None:
        self._why_not_live = why_not_live
        self._stops_in_vain = stops_in_vain
        self._patience_s = patience_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        since: float | None = None
        while not self._stopping.wait(min(LOOK_S, self._patience_s / 2)):
            if self._stops_in_vain():
                end_process("Redis does not answer while the worker stops")
            reasons = self._why_not_live()
            if not reasons:
                since = None
            elif since is None:
                since = monotonic()
            elif monotonic() - since >= self._patience_s:
                end_process("the worker hangs", reasons=reasons)

    def close(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._thread.join()
