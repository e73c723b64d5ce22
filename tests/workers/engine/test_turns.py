"""Engines take turns on a device, in order of arrival, even if one could take it again at once."""

import threading
from itertools import pairwise
from time import sleep

from workers.engine.turns import Turns

ROUNDS = 50


def test_turns_alternate() -> None:
    turns, taken = Turns(), list[str]()
    begin = threading.Barrier(2)

    def work(name: str) -> None:
        begin.wait()
        for _ in range(ROUNDS):
            with turns:
                taken.append(name)
                sleep(0.001)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = sum(one == other for one, other in pairwise(taken))
    assert len(taken) == 2 * ROUNDS
    assert again <= ROUNDS // 5, "one engine held the device for itself"


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
