"""Reading request headers: Prefer, Idempotency-Key, If-None-Match."""

import pytest

from jobs.schema import JobRequest
from service.api.images import matches
from service.api.waiting import wait_s
from service.http.idempotency import idempotency, parse_key
from service.http.problem import Refusal


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("wait=10", 10),
        ("respond-async, wait=5", 5),
        ('Wait = "7"; x=1', 7),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait", None),
        ("wait=99999999999", None),
        ("return=minimal", None),
    ],
)
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
    def fingerprint(body: str) -> str:
        found = idempotency("k", JobRequest.model_validate_json(body))
        assert found is not None
        return found.fingerprint

    same = fingerprint('{"prompt": "a", "seed": 1}')
    assert fingerprint('{"seed":1,"prompt":"a"}') == same
    assert fingerprint('{"seed":2,"prompt":"a"}') != same
    assert fingerprint('{"prompt":"a"}') != same


@pytest.mark.parametrize(
    ("header", "expected"),
    [('"x"', True), ('W/"x"', True), ('"y", "x"', True), ("*", True), ('"y"', False), ("x", False)],
)
def test_entity_tags(header: str, expected: bool) -> None:
    assert matches(header, '"x"') is expected
