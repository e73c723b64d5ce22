"""KEDA and the HPA it makes, in turns on one clock."""

from collections.abc import Callable

from tests.scaling.kubernetes import hpa, keda
from tests.scaling.kubernetes.scaled_object import ScaledObject


class Autoscaler:
    """Decides on replicas at KEDA's polls and at the HPA's syncs, each at its own pace."""

    def __init__(self, scaled: ScaledObject, *, sync_s: float = hpa.SYNC_S) -> None:
        self.scaled = scaled
        self._sync_s = sync_s
        self._next_poll_s = 0.0
        self._next_sync_s = sync_s / 2  # the two loops do not run in step
        self._status = keda.Status()
        self._history = hpa.History()

    @property
    def due_s(self) -> float:
        """When the next turn is."""
        return min(self._next_poll_s, self._next_sync_s)

    def turn(self, now_s: float, replicas: int, read: Callable[[], float | None]) -> int:
        """Take the turns that are due and return the replicas wanted.

        ``read`` returns the trigger's value now, None where it is missing.
        """
        if now_s >= self._next_poll_s:
            self._next_poll_s = now_s + self.scaled.polling_interval
            self._status, replicas = keda.poll(self._status, now_s, replicas, read(), self.scaled)
        if now_s >= self._next_sync_s:
            self._next_sync_s = now_s + self._sync_s
            value = None
            if replicas > 0:  # at zero the HPA is disabled and asks for no metric
                self._status, value = keda.metric(self._status, read(), replicas, self.scaled)
            self._history, replicas = hpa.sync(self._history, now_s, replicas, value, self.scaled)
        return replicas
