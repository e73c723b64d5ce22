"""Prompts that change between steps, as AUTOMATIC1111 publishes what they mean."""

import time
from contextlib import suppress
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.catalogue import resolve
from jobs.errors import InvalidRequest
from jobs.schema import JobRequest
from jobs.validation.prompt_schedule import MAX_BRACKETS, MAX_TEXTS, prompt_schedule
from tests.jobs.examples import MODEL


def by_step(prompt: str, steps: int = 10) -> list[str]:
    """Return the text of each step."""
    pieces = prompt_schedule(prompt, steps)
    starts = [0, *(piece.until for piece in pieces)]
    return list(
        chain.from_iterable(
            [piece.text] * (piece.until - start)
            for start, piece in zip(starts, pieces, strict=False)
        )
    )


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("test", ["test"] * 10),
        ("", [""] * 10),
        ("a [b:3]", ["a "] * 3 + ["a b"] * 7),
        ("a [b: 3]", ["a "] * 3 + ["a b"] * 7),
        ("a [b: 3 ]", ["a "] * 3 + ["a b"] * 7),
        ("a [[[b]]:2]", ["a "] * 2 + ["a [[b]]"] * 8),
        ("[(a:2):3]", [""] * 3 + ["(a:2)"] * 7),
        ("a [b : c : 1] d", ["a b  d"] + ["a  c  d"] * 9),
        ("a[b:[c:d:2]:1]e", ["abe", "ace"] + ["ade"] * 8),
        ("a [unbalanced", ["a [unbalanced"] * 10),
        ("a [b:.5] c", ["a  c"] * 5 + ["a b c"] * 5),
        ("a [b::.5] c", ["a b c"] * 5 + ["a  c"] * 5),
        ("a [{b|d{:.5] c", ["a  c"] * 5 + ["a {b|d{ c"] * 5),
        ("((a][:b:c [d:3]", ["((a][:b:c "] * 3 + ["((a][:b:c d"] * 7),
        ("[a|(b:1.1)]", ["a", "(b:1.1)"] * 5),
        ("[fe|]male", ["female", "male"] * 5),
        ("[fe|||]male", (["female"] + ["male"] * 3) * 2 + ["female", "male"]),
        ("[a|[b|c]]", ["a", "c"] * 5),
        ("[a:b:1.0]", ["a"] * 10),
        ("[a:b:20]", ["a"] * 10),
        ("[a:b:0]", ["b"] * 10),
        ("[a:b:-3]", ["b"] * 10),
        (r"\\[a:b:3\\]", [r"\\[a:b:3\\]"] * 10),
        ("[a:b:c:3]", ["[a:b:c:3]"] * 10),
        ("[a:b]", ["[a:b]"] * 10),
        ("[a] (b) [c:d", ["[a] (b) [c:d"] * 10),
        ("[(a:3]", ["[(a:3]"] * 10),
        ("(a [b)c:3]", ["(a [b)c:3]"] * 10),
        ("[a:1|b]", ["[a:1|b]"] * 10),
        ("a | b : c", ["a | b : c"] * 10),
        (f"[a:b:{'9' * 400}]", ["a"] * 10),
        (f"[a:b:-{'9' * 400}.]", ["b"] * 10),
    ],
)
def test_a_prompt_says_at_each_step(prompt: str, texts: list[str]) -> None:
    assert by_step(prompt) == texts


def test_the_example_of_its_documentation() -> None:
    prompt = (
        "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75]"
        "[ in foreground::0.6][ in background:0.25] [shoddy:masterful:0.5]"
    )
    start = "fantasy landscape with a"
    assert [(piece.until, piece.text) for piece in prompt_schedule(prompt, 100)] == [
        (25, f"{start} mountain and an oak in foreground shoddy"),
        (50, f"{start} lake and an oak in foreground in background shoddy"),
        (60, f"{start} lake and an oak in foreground in background masterful"),
        (75, f"{start} lake and an oak in background masterful"),
        (100, f"{start} lake and a christmas tree in background masterful"),
    ]


def test_too_many_changes_are_refused() -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_BRACKETS} brackets"):
        prompt_schedule("[a|b]" * (MAX_BRACKETS + 1), 10)
    with pytest.raises(ValueError, match=f"{MAX_TEXTS + 1} texts"):
        prompt_schedule("|".join("abcdefghijklmnopq").join("[]"), 100)
    assert len(prompt_schedule("|".join("abcdefghijklmnop").join("[]"), 100)) == 100


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 4000, "[" * 2000 + "]" * 2000, "[a|" * 1000 + "]" * 1000, "[(" * 2000, "a:" * 2000,
        "[" * 2000 + ")" * 2000, "(" * 2000 + ")" * 2000, "[a:" + "9" * 3990 + "x]",
    ],
)  # fmt: skip
def test_no_prompt_takes_long(prompt: str) -> None:
    assert min(taken_s(prompt) for _ in range(3)) < 0.2  # without what else the thread has to do


def taken_s(prompt: str) -> float:
    started = time.thread_time()
    with suppress(ValueError):
        prompt_schedule(prompt, 1000)
    return time.thread_time() - started


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab[]():|.123\\ ", max_size=40), st.integers(1, 30))
def test_any_text_has_a_meaning_at_every_step(prompt: str, steps: int) -> None:
    pieces = prompt_schedule(prompt, steps)
    assert [p.until for p in pieces] == sorted({p.until for p in pieces})
    assert pieces[-1].until == steps
    if not set(prompt) & set("[]"):
        assert [p.text for p in pieces] == [prompt]


def test_a_request_says_what_brackets_mean() -> None:
    many = "[a|b]" * 33
    assert resolve(JobRequest(prompt=many), MODEL).prompt_syntax == "plain"
    with pytest.raises(InvalidRequest, match="more than 32 brackets change the prompt") as refused:
        resolve(JobRequest(prompt="a", negative_prompt=many, prompt_syntax="a1111"), MODEL)
    assert refused.value.field == "negative_prompt"
    spec = resolve(JobRequest(prompt="[a|b]", prompt_syntax="a1111_mean"), MODEL)
    assert (spec.prompt, spec.prompt_syntax) == ("[a|b]", "a1111_mean")


def test_a_model_that_cannot_weight_prompts_refuses_the_syntax() -> None:
    model = MODEL.model_copy(update={"prompt_syntaxes": ("plain",)})
    with pytest.raises(InvalidRequest, match="not support prompt_syntax 'a1111'; available: plain"):
        resolve(JobRequest(prompt="a", prompt_syntax="a1111"), model)
