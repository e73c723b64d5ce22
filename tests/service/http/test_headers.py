"""Reading request headers: Prefer, Idempotency-Key, If-None-Match."""

import pytest

from jobs.schema import JobRequest
from service.api.waiting import wait_s
from service.http.entity_tag import matches
from service.http.idempotency import idempotency, parse_key
from service.http.problem import Refusal

WAITS = {"wait=10": 10, "respond-async, wait=5": 5, 'Wait = "7"; x=1': 7}
NO_WAITS = (None, "", "wait=-1", "wait=1.5", "wait", "wait=99999999999", "return=minimal")


@pytest.mark.parametrize(("header", "expected"), [*WAITS.items(), *((h, None) for h in NO_WAITS)])
def test_prefer_wait(header: str | None, expected: int | None) -> None:
    assert wait_s(header) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (['"8e03978e"'], "8e03978e"),
        (["8e03978e-40d5"], "8e03978e-40d5"),
        ([r'"a\"b\\c"'], 'a"b\\c'),
        (['"with space"'], "with space"),
    ],
)
def test_key_is_read(values: list[str], expected: str | None) -> None:
    assert parse_key(values) == expected


@pytest.mark.parametrize("values", [["a", "a"], ['"'], ['"a'], ["a b"], ["é"], ['"a\tb"'], [" "]])
def test_malformed_key_is_refused(values: list[str]) -> None:
    with pytest.raises(Refusal):
        parse_key(values)


def test_fingerprint_is_of_the_fields_that_were_set() -> None:
    same, reordered, other, unset = (
        idempotency("k", JobRequest.model_validate_json(body))
        for body in (
            '{"prompt": "a", "seed": 1}',
            '{"seed":1,"prompt":"a"}',
            '{"seed":2,"prompt":"a"}',
            '{"prompt":"a"}',
        )
    )
    assert same == reordered
    assert same not in (other, unset)


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"x"', True), ('W/"x"', True), ('"y", "x"', True), ("*", True), ('"y"', False), ("x", False)],
)
def test_entity_tags(header: str, expected: bool) -> None:
    assert matches(header, '"x"') is expected
