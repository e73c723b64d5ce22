"""Circuits to receivers open, are probed and close."""

from service.webhooks.circuits import LONGEST_REST_S, MAX_CIRCUITS, OPEN_AFTER, WebhookCircuits

LINE = ("a", "shop.example:443")


class Clock:
    """A clock that stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> WebhookCircuits:
    """Return circuits of which one has just opened, for ten seconds."""
    circuits = WebhookCircuits(10.0, clock)
    for _ in range(OPEN_AFTER):
        assert circuits.resting() in ({}, {LINE: 0.0})
        circuits.report(LINE, timed_out=True)
    return circuits


def test_a_circuit_opens_after_timeouts_in_a_row_and_is_probed_after_its_rest() -> None:
    circuits = opened(clock := Clock())
    assert circuits.resting() == {LINE: 10.0}
    clock.now = 4.0
    assert circuits.resting() == {LINE: 6.0}
    clock.now = 11.0
    assert circuits.resting() == {LINE: 0.0}


def test_an_answer_closes_a_circuit_and_counts_anew() -> None:
    circuits = opened(Clock())
    circuits.report(LINE, timed_out=False)
    assert circuits.resting() == {}
    circuits.report(LINE, timed_out=True)
    assert circuits.resting() == {LINE: 0.0}


def test_rests_grow_with_probes_that_time_out_not_with_late_calls() -> None:
    circuits = opened(clock := Clock())
    circuits.report(LINE, timed_out=True)  # it began before the circuit opened
    assert circuits.resting() == {LINE: 10.0}
    rests = []
    for _ in range(2000):
        clock.now += circuits.resting()[LINE]
        circuits.report(LINE, timed_out=True)
        rests.append(circuits.resting()[LINE])
    assert rests[:3] == [20.0, 40.0, 80.0]
    assert rests[-1] == LONGEST_REST_S


def test_a_tenant_cannot_cut_another_off_from_a_host() -> None:
    assert ("b", LINE[1]) not in opened(Clock()).resting()


def test_the_oldest_circuit_is_forgotten_when_there_are_too_many() -> None:
    circuits = opened(Clock())
    for number in range(MAX_CIRCUITS):
        circuits.report(("b", f"host-{number}:443"), timed_out=True)
    assert len(circuits.resting()) == MAX_CIRCUITS
    assert LINE not in circuits.resting()
