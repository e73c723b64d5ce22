"""``sfumato bench``: arrivals, figures, and what a load does to a service."""

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean
from time import monotonic

import pytest

from jobs.redis.store import RedisStore
from service.cli.bench import load
from service.cli.bench.figures import figures, percentile, rows, spread
from service.cli.bench.load import Sample, arrivals
from service.client.client import Sfumato
from service.settings import ServiceSettings
from tests.service.cli.playing import command, drawing, worker
from tests.service.served import served


def test_arrivals_are_a_poisson_process() -> None:
    times = list(arrivals(5.0, random.Random(1), jobs=20_000))
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 20_000
    assert fmean(gaps) == pytest.approx(0.2, rel=0.03)
    assert sum(gap > 0.2 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.01)


def test_arrivals_end_with_the_duration() -> None:
    times = list(arrivals(100.0, random.Random(2), duration_s=10.0))
    assert 900 < len(times) < 1100
    assert max(times) <= 10.0


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, each) for each in (0, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([3.0], 99) == 3.0
    assert spread([None]) is None
    found = spread([2.0, None, 1.0, 6.0])
    assert found is not None
    assert (found.mean, found.p50, found.p99, found.max) == (3.0, 2.0, 6.0, 6.0)


def test_figures_tell_refusals_from_failures() -> None:
    samples = [
        Sample("succeeded", latency_s=2.0, first_preview_s=1.0),
        Sample("failed", latency_s=9.0), Sample("not_sent"), Sample("too_busy", refused=True),
    ]  # fmt: skip
    found = figures(samples, 4.0)
    assert (found.due, found.succeeded, found.pictures_per_s) == (4, 1, 0.25)
    assert found.refused == {"too_busy": 1}
    assert found.failed == {"failed": 1, "not_sent": 1}
    assert found.latency_s is not None
    assert found.latency_s.max == 2.0
    assert rows(figures([], 0.0))[0] == ("latency", "-", "-", "-", "-")


async def test_a_service_is_measured(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    with served(settings) as (url, _):
        async with worker(store, drawing(store)):
            words = ("bench", url, "--rate", "50", "--jobs", "6", "--steps", "4")
            began = monotonic()
            found = json.loads((await command(*words, "--json")).stdout)
            took_s = monotonic() - began
            assert (found["due"], found["succeeded"]) == (6, 6)
            assert 0 < found["first_preview_s"]["p50"] <= found["latency_s"]["p50"] < took_s
        refused = await command(*words, "--guidance", "99", code=4)
    assert refused.stderr == "sfumato: 6 refused: invalid_request\n"
    assert refused.stdout.splitlines()[1:] == [
        "0 succeeded, 0 images per second",
        "               mean  p50  p99  max",
        "latency        -     -    -    -",
        "first preview  -     -    -    -",
    ]


def test_a_ctrl_c_cancels_the_jobs_in_flight(
    settings: ServiceSettings, announced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "LAST_CALLS_S", 60.0)  # on a busy machine

    def times() -> Iterator[float]:
        yield from (0.0, 0.0, 0.1)
        while running.in_flight and len(client.jobs().jobs) < 3:
            pass
        raise KeyboardInterrupt

    with served(settings) as (url, _), Sfumato(url) as client:
        running = load.Load([client], {"prompt": "a red apple"})
        with pytest.raises(KeyboardInterrupt):
            running.run(times())
        assert {job.status for job in client.jobs().jobs} == {"canceled"}
    assert [sample.outcome for sample in running.samples] == ["canceled"] * 3


def test_a_job_that_the_client_has_no_room_for_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load.PER_CLIENT < 100  # the connections of an HTTPX client
    monkeypatch.setattr(load, "PER_CLIENT", 0)
    with Sfumato() as client:
        busy = load.Load([client], {})
        busy.run(iter([0.0]))
    assert [sample.outcome for sample in busy.samples] == ["not_sent"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "url"), (["http://x"], "rate"), (["http://x", "--rate", "0", "--jobs", "1"], "--rate"),
        (["http://x", "--rate", "nan", "--jobs", "1"], "--rate"),
        (["http://x", "--rate", "1"], "--duration"),
        (["http://x", "--rate", "1", "--jobs", "1", "--duration", "1"], "--duration"),
        (["http://x", "--rate", "1", "--jobs", "0"], "--jobs"),
        (["http://x", "--rate", "1", "--duration", "nan"], "--duration"),
    ],
)  # fmt: skip
async def test_a_load_that_is_none_is_refused(words: list[str], named: str) -> None:
    assert named in (await command("bench", *words, code=2)).stderr
