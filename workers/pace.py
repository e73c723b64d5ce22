"""How fast the engine is: what it did in its last busy seconds."""

from collections import deque

WINDOW_S = 5.0


class Pace:
    """An amount per second over a sliding window of busy time; what is idle does not count."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, float]] = deque()
        self._amount = 0.0
        self.seconds = 0.0  # busy time that the window holds

    def add(self, seconds: float, amount: float) -> None:
        """Account for some busy time."""
        self._window.append((seconds, amount))
        self.seconds += seconds
        self._amount += amount
        while self.seconds > WINDOW_S and len(self._window) > 1:
            old_s, old_amount = self._window.popleft()
            self.seconds -= old_s
            self._amount -= old_amount

    @property
    def per_s(self) -> float:
        """The amount per busy second, 0 before the first."""
        return self._amount / self.seconds if self.seconds > 0 else 0.0
