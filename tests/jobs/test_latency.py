"""The buckets of job latency."""

from jobs.latency import LATENCY_BOUNDS_S, latencies, traced_id


def test_counts_of_a_bound_no_longer_used_fall_into_the_next() -> None:
    old = {"failed:le:45": "2", "failed:le:60": "1", "failed:le:+Inf": "1", "failed:sum": "9"}
    found = {each.outcome: each for each in latencies(old)}["failed"]
    assert len(found.buckets) == len(LATENCY_BOUNDS_S) + 1
    assert dict(found.buckets)["30"] == 0
    assert dict(found.buckets)["60"] == 3
    assert dict(found.buckets)["+Inf"] == 4


def test_only_a_recorded_trace_is_an_exemplar() -> None:
    assert traced_id(None) is None
    assert traced_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00") is None
    assert traced_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") is not None
