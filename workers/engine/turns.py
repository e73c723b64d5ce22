"""Turns of several engines on one device, a tick each."""

from collections import deque
from threading import Lock
from typing import Any


class Turns:
    """A lock that is handed on in order of arrival.

    A plain one would be taken again by the thread that has just released it, over and over.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: deque[Lock] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            gate = Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
