"""When a bound that was lowered for want of memory is raised again."""

from dataclasses import dataclass

FIRST_S = 60.0
MOST_S = 3600.0


@dataclass
class Growth:
    """Waits a minute after the device ran out of memory, and twice as long after each next time."""

    _pause_s: float = FIRST_S / 2
    _at: float = 0.0

    def wait_longer(self, now: float) -> None:
        """Take note that the device has just run out of memory."""
        self._pause_s = min(MOST_S, 2 * self._pause_s)
        self._at = now + self._pause_s

    def is_due(self, now: float) -> bool:
        """Return whether to raise the bound now; the next time comes after the same pause."""
        if now < self._at:
            return False
        self._at = now + self._pause_s
        return True
