"""One submitted job is one trace over door and worker."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic

import pytest
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer

import jobs.telemetry
from jobs.errors import StartError
from jobs.settings import JobsSettings
from jobs.telemetry.otlp import CLOSE_S, door_sampler, provider, worker_sampler
from jobs.telemetry.otlp import close as close_provider
from jobs.telemetry.tracing import OFF, open_tracing, parent, recorded_id, traceparent
from service.processes.ports import free_port
from tests.observation.collector import KeptSpan
from tests.observation.live import CALLER, TRACE, TRACEPARENT, Live
from tests.processes import wait
from workers.runtime.attempt import MAX_TICKS

SPANS = {
    *(("sfumato-door", name) for name in ("POST /v1/jobs", "job submit", "store create", "ring")),
    *(("sfumato-worker", name) for name in ("job attempt", "claim", "admission", "tick")),
    *(("sfumato-worker", name) for name in ("encode", "store picture", "finish")),
}

BUSY_S = 30.0
"""For what takes no time, on a machine that does much else."""


@pytest.fixture(scope="module")
def spans(live: Live) -> list[KeptSpan]:
    def all_sent() -> bool:
        spans = live.collector.of(TRACE)
        images = {span.attributes.get("sfumato.image") for span in spans}
        return {(span.service, span.name) for span in spans} >= SPANS and images >= {0, 1}

    wait("spans of both processes", all_sent)
    return live.collector.of(TRACE)


def named(spans: list[KeptSpan], name: str) -> KeptSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_a_job_is_one_connected_trace_over_two_processes(spans: list[KeptSpan]) -> None:
    ids = {span.span_id for span in spans}
    (root,) = [span for span in spans if span.parent_id not in ids]
    assert (root.name, root.parent_id) == ("POST /v1/jobs", CALLER)
    assert root.attributes["http.response.status_code"] == 202
    submit, attempt = named(spans, "job submit"), named(spans, "job attempt")
    assert submit.parent_id == root.span_id
    assert attempt.parent_id == submit.span_id
    assert {(span.service, span.name) for span in spans} == SPANS
    for span in spans:
        assert span.began_ns <= span.ended_ns


def test_an_attempt_has_bounded_ticks_and_its_milestones(spans: list[KeptSpan]) -> None:
    attempt = named(spans, "job attempt")
    assert attempt.attributes["sfumato.outcome"] == "succeeded"
    assert attempt.events[:1] == ("first tick",)
    assert "first preview" in attempt.events
    ticks = [span for span in spans if span.name == "tick"]
    assert 1 <= len(ticks) <= MAX_TICKS
    assert all(span.parent_id == attempt.span_id for span in ticks)
    assert all(span.attributes["sfumato.rows"] >= 2 for span in ticks)
    admissions = [span for span in spans if span.name == "admission"]
    assert {span.attributes["sfumato.image"] for span in admissions} == {0, 1}


def test_every_outcome_is_reported(live: Live) -> None:
    def outcomes() -> dict[str, str]:
        return {
            span.attributes["sfumato.job_id"]: span.attributes["sfumato.outcome"]
            for span in live.collector.spans
            if span.name == "job attempt"
        }

    wait("the attempts", lambda: {live.jobs["canceled"], "broken"} <= outcomes().keys())
    assert outcomes()["broken"] == "failed"
    assert outcomes()[live.jobs["canceled"]] == "lost"
    (broken,) = [s for s in live.collector.spans if s.attributes.get("sfumato.error")]
    assert broken.failed
    assert broken.attributes["sfumato.error"] == "invalid_request"


def test_no_span_holds_a_prompt(live: Live) -> None:
    assert all("apple" not in str(span) for span in live.collector.spans)


def test_log_lines_of_both_processes_carry_the_trace(live: Live) -> None:
    def lines(name: str, event: str) -> list[dict[str, object]]:
        texts = live.logs[name].read_text().splitlines(keepends=True)
        written = [json.loads(text) for text in texts if text[0] == "{" and text[-1] == "\n"]
        job_id = live.jobs["succeeded"]
        return [x for x in written if x["event"] == event and x.get("job_id") == job_id]

    for name, event in (("door", "job accepted"), ("worker", "job ended")):
        wait(f"the {name}'s line", partial(lines, name, event))  # a worker may write it later
        (line,) = lines(name, event)
        assert line["trace_id"] == TRACE


def test_without_a_collector_nothing_is_traced() -> None:
    tracing = open_tracing(JobsSettings(otlp_endpoint=None), "test", "one")
    assert tracing is OFF
    with tracing.tracer.start_as_current_span("x") as span:
        assert traceparent(span) is None
        assert recorded_id(span) is None


def test_a_collector_without_its_libraries_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    monkeypatch.delattr(jobs.telemetry, "otlp", raising=False)
    monkeypatch.delitem(sys.modules, "jobs.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"SFUMATO_OTLP_ENDPOINT is set and .*otel"):
        open_tracing(JobsSettings(otlp_endpoint=nowhere), "test", "one")


@pytest.fixture
def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


@contextmanager
def tracing_to(url: str, sampler: Sampler) -> Iterator[Tracer]:
    made = provider(url, sampler, "test", "one")
    try:
        yield made.get_tracer("test")
    finally:
        close_provider(made)


def test_a_door_records_its_share_of_what_clients_record(nowhere: str) -> None:
    taken = 0
    with tracing_to(nowhere, door_sampler(0.25)) as tracer:
        for number in range(400):
            asked = f"00-{number * 2**64 // 400 + 1:032x}-{CALLER}-01"
            taken += tracer.start_span("x", context=parent(asked)).is_recording()
    assert taken == pytest.approx(100, abs=2)


def test_a_worker_follows_the_door(nowhere: str) -> None:
    with tracing_to(nowhere, worker_sampler()) as tracer:
        assert recorded_id(tracer.start_span("x", context=parent(TRACEPARENT))) == TRACE
        assert recorded_id(tracer.start_span("x", context=parent(None))) is None


def test_a_client_that_records_nothing_is_not_recorded(nowhere: str) -> None:
    unrecorded = TRACEPARENT.removesuffix("01") + "00"
    with tracing_to(nowhere, door_sampler(1.0)) as tracer:
        span = tracer.start_span("x", context=parent(unrecorded))
        assert recorded_id(span) is None
        kept = traceparent(span)
        assert kept is not None
        assert TRACE in kept
        assert kept.endswith("-00")
        assert recorded_id(tracer.start_span("x", context=parent("no"))) is not None


def test_a_collector_that_is_away_does_not_hold_up_a_stop(nowhere: str) -> None:
    made = provider(nowhere, door_sampler(1.0), "test", "one")
    for _ in range(2000):
        made.get_tracer("test").start_span("x").end()
    began = monotonic()
    close_provider(made)
    assert monotonic() - began < CLOSE_S + BUSY_S
