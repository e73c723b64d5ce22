"""The scaling signal: seconds of one worker's work, known with and without workers."""

import pytest

from jobs.redis.store import RedisStore
from jobs.scaling import UNMEASURED_BACKLOG_S, read_signal, scaling_signal
from jobs.store import Backlog, Progress, WorkerEntry
from tests.jobs.examples import MODEL, claim, submit

MEASURED = MODEL.model_copy(update={"units_per_s": 20.0, "cold_start_s": 4.5})


def worker(
    name: str, units_per_s: float, rows_per_s: float = 0.0, model: str = "toy"
) -> WorkerEntry:
    return WorkerEntry(name, "host", 1, model, "torch", 16, 0, rows_per_s, 0.0, units_per_s)


def test_queued_and_running_work_count_alike_at_the_catalogue_s_speed_without_workers() -> None:
    signal = scaling_signal(MEASURED, Backlog(4, 2, 300.0, 100.0), ())
    assert (signal.backlog_s, signal.units_per_s, signal.workers) == (20.0, 20.0, 0)
    assert (signal.pending_units, signal.running_units) == (300.0, 100.0)
    assert signal.cold_start_s == 4.5


def test_live_workers_know_their_speed_better_and_those_of_other_models_do_not_count() -> None:
    live = (worker("a", 30.0), worker("b", 50.0), worker("c", 1.0, model="other"))
    signal = scaling_signal(MEASURED, Backlog(4, 0, 400.0, 0.0), live)
    assert (signal.backlog_s, signal.units_per_s, signal.workers) == (10.0, 40.0, 2)


def test_the_signal_does_not_depend_on_how_many_workers_there_are() -> None:
    backlog = Backlog(4, 2, 300.0, 100.0)
    seen = {scaling_signal(MEASURED, backlog, [worker(f"{i}", 20.0) for i in range(n)]).backlog_s
            for n in range(5)}  # fmt: skip
    assert seen == {20.0}


def test_a_worker_with_one_picture_does_not_look_slow() -> None:
    signal = scaling_signal(MEASURED, Backlog(0, 1, 0.0, 40.0), [worker("a", 20.0, rows_per_s=2.0)])
    assert signal.backlog_s == 2.0


def test_a_worker_that_has_not_measured_counts_with_its_row_speed() -> None:
    live = [worker("a", 0.0, rows_per_s=8.0), worker("b", 0.0)]
    assert scaling_signal(MODEL, Backlog(1, 0, 40.0, 0.0), live).backlog_s == 5.0
    assert scaling_signal(MEASURED, Backlog(1, 0, 40.0, 0.0), live).backlog_s == 2.0


def test_waiting_work_starts_a_worker_where_nobody_has_measured_a_speed() -> None:
    assert scaling_signal(MODEL, Backlog(900, 0, 1e6, 0.0), ()).backlog_s == UNMEASURED_BACKLOG_S
    assert scaling_signal(MODEL, Backlog(0, 0, 0.0, 0.0), ()).backlog_s == 0.0


def test_a_job_counts_until_it_has_ended() -> None:
    signal = scaling_signal(MEASURED, Backlog(0, 1, 0.0, 0.0), ())
    assert signal.backlog_s == pytest.approx(1 / 20)


async def test_the_store_s_signal_goes_down_with_progress(store: RedisStore) -> None:
    assert await read_signal(store, "toy") is None
    await store.announce_model(MEASURED)
    assert (await read_signal(store, "toy")).backlog_s == 0.0  # type: ignore[union-attr]
    for name in ("a", "b"):
        await submit(store, name)
    await store.progress([Progress((await claim(store)).lease, 5, 5.0, 5)])
    signal = await read_signal(store, "toy")
    assert signal is not None
    assert (signal.pending_units, signal.running_units) == (10.0, 5.0)
    assert signal.backlog_s == pytest.approx(15 / 20)
