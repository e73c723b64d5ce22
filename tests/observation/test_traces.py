"""One submitted job is one trace over door and worker."""

import json
from pathlib import Path

import pytest

from jobs.otlp import CLOSE_S, provider
from jobs.otlp import close as close_provider
from jobs.settings import JobsSettings
from jobs.tracing import OFF, open_tracing, parent, recorded_id, traceparent
from service.redis_server import free_port
from tests.observation.collector import KeptSpan
from tests.observation.live import CALLER, TRACE, TRACEPARENT, Live, wait
from workers.attempt import MAX_TICKS


@pytest.fixture(scope="module")
def spans(live: Live) -> list[KeptSpan]:
    wait("the attempt's span", lambda: "job attempt" in {s.name for s in live.collector.of(TRACE)})
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
    assert {(span.service, span.name) for span in spans} == {
        *(("sfumato-door", name) for name in ("POST /v1/jobs", "job submit", "store create")),
        ("sfumato-door", "ring"),
        *(("sfumato-worker", name) for name in ("job attempt", "claim", "admission", "tick")),
        *(("sfumato-worker", name) for name in ("encode", "store picture", "finish")),
    }
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


def test_every_fate_is_told(live: Live) -> None:
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
    def lines(log: Path) -> list[dict[str, object]]:
        texts = [text for text in log.read_text().splitlines() if text.startswith("{")]
        return [json.loads(text) for text in texts]

    for name, event in (("door", "job accepted"), ("worker", "job ended")):
        (line,) = [
            line
            for line in lines(live.logs[name])
            if line["event"] == event and line.get("job_id") == live.jobs["succeeded"]
        ]
        assert line["trace_id"] == TRACE


def test_without_a_collector_nothing_is_traced() -> None:
    tracing = open_tracing(JobsSettings(otlp_endpoint=None), "test", "one")
    assert tracing is OFF
    with tracing.tracer.start_as_current_span("x") as span:
        assert traceparent(span) is None
        assert recorded_id(span) is None


def test_a_client_that_records_nothing_is_not_recorded() -> None:
    made = provider(f"http://127.0.0.1:{free_port()}", 1.0, "test", "one")
    unrecorded = TRACEPARENT.removesuffix("01") + "00"
    span = made.get_tracer("test").start_span("x", context=parent(unrecorded))
    assert recorded_id(span) is None
    kept = traceparent(span)
    assert kept is not None
    assert TRACE in kept
    assert kept.endswith("-00")
    assert recorded_id(made.get_tracer("test").start_span("x", context=parent("no"))) is not None
    close_provider(made)


def test_a_collector_that_is_away_does_not_hold_up_a_stop() -> None:
    from time import monotonic

    made = provider(f"http://127.0.0.1:{free_port()}", 1.0, "test", "one")
    for _ in range(2000):
        made.get_tracer("test").start_span("x").end()
    began = monotonic()
    close_provider(made)
    assert monotonic() - began < CLOSE_S + 1
