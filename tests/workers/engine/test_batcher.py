"""The order of rows: class, first evaluations, shortest remaining work with ageing."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from workers.engine.batcher import Batcher, Candidate


def candidate(key: str, **changes: object) -> Candidate:
    return replace(Candidate(key, "shape", 1, 0.0, 2, 10, started=True), **changes)  # type: ignore[arg-type]


def keys(batcher: Batcher, *candidates: Candidate) -> list[object]:
    return [chosen.key for chosen in batcher.choose(candidates)]


def turns(batcher: Batcher, count: int, *candidates: Candidate) -> list[Sequence[Candidate]]:
    """Return what is chosen in each of some ticks."""
    chosen = []
    for _ in range(count):
        chosen.append(batcher.choose(candidates))
        batcher.served(chosen[-1])
    return chosen


def test_higher_class_goes_first() -> None:
    low, high = candidate("low", rank=2, remaining=1), candidate("high", rank=0, remaining=99)
    assert keys(Batcher(2), low, high) == ["high"]


def test_a_lower_class_gets_its_share_of_rows_beside_a_higher_one() -> None:
    low = candidate("low", rank=2, remaining=1000)
    highs = [candidate(str(n), rank=0, remaining=1000) for n in range(2)]
    ticks = turns(Batcher(4, class_share=0.1), 200, low, *highs)
    served = sum(each.passes for chosen in ticks for each in chosen if each is low)
    assert served == pytest.approx(0.1 * (800 - served), abs=2)


def test_rows_that_a_lower_class_gets_anyway_count_for_its_share() -> None:
    low, high = candidate("low", rank=2, remaining=1000), candidate("high", rank=0, remaining=1000)
    for chosen in turns(Batcher(8, class_share=0.3), 50, low, high):
        assert [each.key for each in chosen] == ["high", "low"]


def test_a_tenant_with_many_images_does_not_hold_up_one_with_few() -> None:
    many = [candidate(f"many{n}", tenant="many", remaining=5) for n in range(6)]
    few = candidate("few", tenant="few", remaining=99)
    for chosen in turns(Batcher(4), 3, *many, few):
        assert [each.tenant for each in chosen] == ["few", "many"]


def test_tenants_rows_follow_their_weights() -> None:
    heavy = [candidate(f"h{n}", tenant="heavy", weight=3.0, remaining=500) for n in range(4)]
    light = [candidate(f"l{n}", tenant="light", remaining=500) for n in range(4)]
    ticks = turns(Batcher(2), 80, *heavy, *light)
    assert [each.tenant for chosen in ticks for each in chosen].count("heavy") == 60


def test_a_tenant_that_comes_back_has_no_turns_saved_up() -> None:
    batcher = Batcher(2)
    one, two = candidate("one", tenant="one", remaining=99), candidate("two", tenant="two")
    turns(batcher, 20, one)
    served = [each.tenant for chosen in turns(batcher, 4, one, two) for each in chosen]
    assert sorted(served) == ["one", "one", "two", "two"]


def test_first_evaluation_goes_before_those_under_way() -> None:
    short, fresh = candidate("short", remaining=1), candidate("fresh", remaining=99, started=False)
    assert keys(Batcher(2), short, fresh) == ["fresh"]


def test_shortest_remaining_work_goes_first() -> None:
    assert keys(Batcher(4), *(candidate(str(n), remaining=n) for n in (9, 2, 5))) == ["2", "5"]


def test_unguided_rows_fill_what_a_guided_one_leaves() -> None:
    rows = [candidate("a", remaining=1), candidate("b", remaining=2), candidate("c", passes=1)]
    assert keys(Batcher(3), *rows) == ["a", "c"]


def test_one_image_goes_even_where_it_is_more_than_the_bound() -> None:
    assert keys(Batcher(1), candidate("guided")) == ["guided"]


def test_images_of_another_shape_wait() -> None:
    wide = candidate("wide", group="wide", remaining=20)
    assert keys(Batcher(8), wide, candidate("a"), candidate("b")) == ["a", "b"]


def test_a_long_image_is_not_passed_for_ever() -> None:
    batcher = Batcher(2, ageing=0.25)
    long = candidate("long", remaining=100)
    served = 0
    while served < 1000:
        (chosen,) = batcher.choose([long, candidate("short", remaining=5, arrived=batcher.clock)])
        if chosen is long:
            break
        batcher.served([chosen])
        served += 1
    assert 300 < served < 500  # 190 rows of difference at a quarter of a row a row, two rows a tick


def test_without_ageing_it_would_be() -> None:
    batcher = Batcher(2, ageing=0.0)
    long = candidate("long", remaining=100)
    for _ in range(1000):
        short = candidate("short", remaining=5, arrived=batcher.clock)
        assert batcher.choose([long, short]) == [short]
        batcher.served([short])


def test_lower_goes_below_what_did_not_fit_and_stops_at_one_guided_image() -> None:
    batcher = Batcher(16)
    assert batcher.lower(below=12)
    assert batcher.rows_per_tick == 8
    assert not batcher.lower(below=12)
    assert batcher.lower(below=1)
    assert batcher.rows_per_tick == 2
    assert not batcher.lower(below=1)
