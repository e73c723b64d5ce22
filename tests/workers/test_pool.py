"""What a worker of several models has loaded: the choice alone, in virtual time."""

from dataclasses import replace

from workers.pool import TURN_S, Change, ModelState, next_change

GB = 2**30
IDLE = ModelState(
    name="a", bytes=4 * GB, load_s=1.0, pending=0, waiting_s=0.0, left_s=0.0, busy=False,
    loaded_s=100.0, idle_s=10.0,
)  # fmt: skip
AWAY = replace(IDLE, name="b", loaded_s=None)
WAITED_FOR = replace(AWAY, pending=1, waiting_s=0.5)
BUSY = replace(IDLE, busy=True, pending=5, left_s=60.0, idle_s=0.0)


def test_nothing_is_loaded_for_nobody() -> None:
    assert next_change([IDLE, AWAY], 4 * GB) is None


def test_room_is_used_before_anything_leaves() -> None:
    assert next_change([IDLE, WAITED_FOR], 8 * GB) == Change("b", [])
    assert next_change([IDLE, WAITED_FOR], 8 * GB - 1) == Change("b", ["a"])


def test_the_one_that_was_idle_longest_leaves_first_and_no_more_than_must() -> None:
    recent = replace(IDLE, name="c", idle_s=1.0)
    assert next_change([recent, IDLE, WAITED_FOR], 8 * GB) == Change("b", ["a"])
    large = replace(WAITED_FOR, bytes=8 * GB)
    assert next_change([recent, IDLE, large], 8 * GB) == Change("b", ["a", "c"])
    assert next_change([recent, IDLE, large], 8 * GB - 1) is None


def test_idle_ones_leave_before_busy_ones() -> None:
    busy = replace(BUSY, name="c")
    assert next_change([busy, IDLE, WAITED_FOR], 8 * GB) == Change("b", ["a"])


def test_a_busy_one_has_its_turn() -> None:
    begun = replace(BUSY, loaded_s=8.9)
    assert next_change([begun, WAITED_FOR], 4 * GB) is None
    assert next_change([replace(begun, loaded_s=9.0), WAITED_FOR], 4 * GB) == Change("b", ["a"])
    quick = replace(BUSY, load_s=0.001, loaded_s=TURN_S - 0.1)
    assert next_change([quick, WAITED_FOR], 4 * GB) is None
    assert next_change([replace(quick, loaded_s=TURN_S), WAITED_FOR], 4 * GB) is not None


def test_what_is_nearly_done_may_finish_but_not_for_ever() -> None:
    nearly = replace(BUSY, left_s=0.9, loaded_s=9.0)
    assert next_change([nearly, WAITED_FOR], 4 * GB) is None
    assert next_change([replace(nearly, loaded_s=18.0), WAITED_FOR], 4 * GB) is not None


def test_the_one_that_has_waited_longest_is_next() -> None:
    later = replace(WAITED_FOR, name="c", waiting_s=0.4, pending=100)
    assert next_change([IDLE, later, WAITED_FOR], 4 * GB) == Change("b", ["a"])


def test_no_model_waits_for_longer_than_the_turns_of_the_others() -> None:
    """Three models with work for hours on a worker that holds one."""
    clock, load_s, since = 0.0, 1.0, {"a": 0.0}
    waits: dict[str, float] = {"b": 0.0, "c": 0.0}
    longest, loads = 0.0, 0
    while clock < 600:
        states = [
            replace(
                BUSY, name=name, load_s=load_s, busy=name in since,
                loaded_s=clock - since[name] if name in since else None,
                waiting_s=clock - waits.get(name, clock),
            )
            for name in "abc"
        ]  # fmt: skip
        change = next_change(states, 4 * GB)
        if change is not None:
            longest = max(longest, clock - waits.pop(change.load))
            waits |= dict.fromkeys(change.unload, clock)
            clock, loads = clock + load_s, loads + 1
            since = {change.load: clock}
        clock += 0.2
    assert longest <= 2 * (9 * load_s + load_s + 0.4)
    assert loads * load_s / clock <= 0.11
