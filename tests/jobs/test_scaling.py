"""The scaling signal: seconds of one worker's work, known with and without workers."""

from dataclasses import replace

import pytest

from jobs.catalogue import ModelEntry
from jobs.fleet import WorkerEntry
from jobs.scaling import UNMEASURED_BACKLOG_S, scaling_signal
from jobs.store import Backlog
from tests.jobs.examples import MODEL

MEASURED = MODEL.model_copy(update={"units_per_s": 20.0, "cold_start_s": 4.5})


def worker(
    name: str, units_per_s: float, rows_per_s: float = 0.0, model: str = "toy"
) -> WorkerEntry:
    return WorkerEntry(name, "host", 1, model, "torch", 16, 0, rows_per_s, 0.0, units_per_s)


MIXED = Backlog(4, 2, 300.0, 100.0)


def test_the_signal_without_workers_has_the_catalogue_s_speed() -> None:
    signal = scaling_signal(MEASURED, MIXED, ())
    assert (signal.backlog_s, signal.units_per_s, signal.workers) == (20.0, 20.0, 0)
    assert (signal.pending_units, signal.running_units) == (300.0, 100.0)
    assert signal.cold_start_s == 4.5


def test_live_workers_know_their_speed_better_and_those_of_other_models_do_not_count() -> None:
    live = (worker("a", 30.0), worker("b", 50.0), worker("c", 1.0, model="other"))
    signal = scaling_signal(MEASURED, MIXED, live)
    assert (signal.backlog_s, signal.units_per_s, signal.workers) == (10.0, 40.0, 2)


ROWS_ALONE = [worker("a", 0.0, rows_per_s=8.0), worker("b", 0.0)]


@pytest.mark.parametrize(
    ("model", "backlog", "workers", "backlog_s"),
    [
        *((MEASURED, MIXED, [worker(f"{i}", 20.0) for i in range(n)], 20.0) for n in range(5)),
        (MEASURED, Backlog(0, 1, 0.0, 40.0), [worker("a", 20.0, rows_per_s=2.0)], 2.0),
        (MODEL, Backlog(1, 0, 40.0, 0.0), ROWS_ALONE, 5.0),
        (MEASURED, Backlog(1, 0, 40.0, 0.0), ROWS_ALONE, 2.0),
        (MODEL, Backlog(900, 0, 1e6, 0.0), [], UNMEASURED_BACKLOG_S),
        (MODEL, Backlog(0, 0, 0.0, 0.0), [], 0.0),
        (MEASURED, Backlog(0, 1, 0.0, 0.0), [], 1 / 20),
    ],
    ids=[
        *(f"any number of workers: {n}" for n in range(5)),
        "one image does not look slow",
        "an unmeasured worker has its speed in rows",
        "the catalogue's speed goes before that",
        "unmeasured work starts a worker",
        "no work does not",
        "a job counts until it has ended",
    ],
)
def test_backlog_in_seconds(
    model: ModelEntry, backlog: Backlog, workers: list[WorkerEntry], backlog_s: float
) -> None:
    assert scaling_signal(model, backlog, workers).backlog_s == pytest.approx(backlog_s)


def test_a_pool_has_one_signal() -> None:
    other = MEASURED.model_copy(update={"name": "other", "units_per_s": 10.0, "load_s": 8.0})
    cold = replace(worker("w/other", 10.0, model="other"), loaded=False)
    live = [worker("w/toy", 20.0), cold]
    toy, waiting, idle = (MEASURED, MIXED), Backlog(1, 0, 50.0, 0.0), Backlog(0, 0, 0.0, 0.0)
    for (model, work), pool in (
        (toy, [(other, waiting)]),
        ((other, waiting), [toy]),
    ):
        assert scaling_signal(model, work, live, pool).backlog_s == pytest.approx(20 + 5 + 8)
    assert scaling_signal(*toy, live, [(other, idle)]).backlog_s == pytest.approx(20)
    warm = [live[0], worker("w/other", 10.0, model="other")]
    assert scaling_signal(*toy, warm, [(other, waiting)]).backlog_s == pytest.approx(25)
