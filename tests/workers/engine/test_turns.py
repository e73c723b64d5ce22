"""Engines take turns on a device, in order of arrival, even if one could take it again at once."""

import threading
from itertools import pairwise
from time import sleep

from workers.engine.turns import Turns

ROUNDS = 50


def test_turns_alternate() -> None:
    turns, taken = Turns(), list[str]()

    def work(name: str, other: str) -> None:
        for _ in range(ROUNDS):
            with turns:
                taken.append(name)
                while not vars(turns)["_waiting"] and taken.count(other) < ROUNDS:
                    sleep(0.0005)  # the other one comes

    threads = [threading.Thread(target=work, args=names) for names in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 2 * ROUNDS
    assert all(one != other for one, other in pairwise(taken)), "one held the device for itself"


def test_a_turn_ends_with_an_error() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns:
                raise ValueError
        except ValueError:
            pass
    with turns:
        pass
