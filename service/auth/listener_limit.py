"""How many event streams and waits one replica serves: to one caller, and in all."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from service.http.problem import Refusal

RETRY_S = 5.0


class ListenerLimit:
    """Counts those who listen now. A caller is a key, or the address of who has none."""

    def __init__(self, most: int, most_of_caller: int) -> None:
        self._most = most
        self._most_of_caller = most_of_caller
        self._of_caller: Counter[str] = Counter()
        self._all = 0

    def enter(self, caller: str) -> None:
        """Count one more; `leave` has to follow. Raises: Refusal, 429."""
        if self._all >= self._most:
            raise _refused(f"this door serves {self._most} event streams and waits at most")
        if self._of_caller[caller] >= self._most_of_caller:
            raise _refused(f"a caller may have {self._most_of_caller} event streams and waits")
        self._of_caller[caller] += 1
        self._all += 1

    def leave(self, caller: str) -> None:
        """Count one less."""
        self._all -= 1
        self._of_caller[caller] -= 1
        if not self._of_caller[caller]:
            del self._of_caller[caller]

    @contextlib.contextmanager
    def listening(self, caller: str) -> Iterator[None]:
        """Count one for the length of the block. Raises: Refusal, 429."""
        self.enter(caller)
        try:
            yield
        finally:
            self.leave(caller)


def _refused(detail: str) -> Refusal:
    return Refusal(429, "too_many_listeners", detail, retry_after_s=RETRY_S)
