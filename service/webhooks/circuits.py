"""Circuit breakers: a receiver that hangs is not called for a while.

Each tenant has its own circuit to a receiver, so that no tenant can cut off another's webhooks to
a host that both use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import structlog

from jobs.outbox import Line

log = structlog.get_logger()

OPEN_AFTER = 2  # timeouts in a row
LONGEST_REST_S = 900.0
MAX_CIRCUITS = 1024  # beyond it the oldest is dropped


@dataclass
class _Circuit:
    timeouts: int = 0  # in a row
    probe_at: float = 0.0


class WebhookCircuits:
    """One door's circuits. They open for ``rest_s``, and twice as long after each failed probe."""

    def __init__(self, rest_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._rest_s = rest_s
        self._clock = clock
        self._circuits: dict[Line, _Circuit] = {}

    def report(self, line: Line, *, timed_out: bool) -> None:
        """Record a call; any outcome but a timeout closes the circuit."""
        if not timed_out:
            self._circuits.pop(line, None)
            return
        circuit, now = self._circuits.setdefault(line, _Circuit()), self._clock()
        if now < circuit.probe_at:
            return  # the call started before the circuit opened
        circuit.timeouts += 1
        if (more := circuit.timeouts - OPEN_AFTER) >= 0:
            rest_s = min(LONGEST_REST_S, self._rest_s * 2.0 ** min(more, 20))
            circuit.probe_at = now + rest_s
            log.warning("webhook receiver hangs", tenant=line[0], receiver=line[1], rest_s=rest_s)
        if len(self._circuits) > MAX_CIRCUITS:
            del self._circuits[next(iter(self._circuits))]

    def resting(self) -> dict[Line, float]:
        """Return the lines whose last call timed out, with the seconds until their next probe."""
        now = self._clock()
        return {line: max(0.0, each.probe_at - now) for line, each in self._circuits.items()}
