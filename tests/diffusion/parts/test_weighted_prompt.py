"""Weights and chunks of prompts, as AUTOMATIC1111 publishes what they mean."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import CLIPTextModel

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import PromptError
from diffusion.model import Truncation
from diffusion.parts.weighted_prompt import (
    Chunker,
    Run,
    Weighting,
    apply_weights,
    weighted,
)
from tests.layouts.pixels import ddpm
from tests.layouts.unet_family import sd15, sdxl


def pairs(prompt: str) -> list[tuple[str | None, float]]:
    return [(run.text, run.weight) for run in weighted(prompt)]


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("", [("", 1.0)]),
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        (r"a\\b\c", [("a\\bc", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.5730000000000004),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641000000000006),
                (".", 1.1),
            ],
        ),
        ("(a: 1.5 )b", [("a", 1.5), ("b", 1.0)]),
        ("(a:-1)", [("a", -1.0)]),
        ("[a", [("a", 1 / 1.1)]),
        ("a) b] c:1.2)", [("a) b] c:1.2)", 1.0)]),
        ("(a:99999)", [("a", 16.0)]),
        ("(a:-1e9)", [("a:-1e9", 1.1)]),
        (f"(a:{'9' * 400})", [("a", 16.0)]),
        (f"((a:0):{'9' * 400})", [("a", 0.0)]),
        ("(" * 64 + "a" + ":16)" * 64, [("a", 16.0)]),
        ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),
        ("a BREAK b", [("a", 1.0), (None, 1.0), ("b", 1.0)]),
        ("(a BREAK b:2)", [("a", 2.0), (None, 2.0), ("b", 2.0)]),
        ("BREAKFAST", [("BREAKFAST", 1.0)]),
    ],
)
def test_brackets_weight_a_prompt(prompt: str, runs: list[tuple[str | None, float]]) -> None:
    assert pairs(prompt) == runs


def test_spaces_take_no_time() -> None:
    started = time.thread_time()
    weighted(" " * 40_000 + "x")
    assert time.thread_time() - started < 2.0  # it takes 2 ms, and the square of that far more


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab()[]:1.2\\ ", max_size=60))
def test_every_prompt_has_a_meaning(prompt: str) -> None:
    runs = weighted(prompt)
    assert runs
    if not set(prompt) & set("()[]\\"):
        assert [run.text for run in runs] == [prompt]


Chunks = Callable[[str], list[list[str]]]


@pytest.fixture
def letters(tmp_path: Path) -> Chunker:
    """Return a chunker of eight characters a chunk, with three chunks at most."""
    tokenizer: Any = load_bundle(sd15(tmp_path / "m"))._text._parts[0].tokenizer  # type: ignore[attr-defined]
    return Chunker("text_encoder", tokenizer, 10, 4)


def sizes(chunker: Chunker, prompt: str) -> list[int]:
    return [len(chunk.tokens) for chunk in chunker.chunks(weighted(prompt))]


def test_a_chunk_ends_at_a_comma_that_is_near(letters: Chunker) -> None:
    assert sizes(letters, "") == [0]
    assert sizes(letters, "a b c d e f g h") == [8]
    assert sizes(letters, "a b c d e f g h i") == [8, 1]
    assert sizes(letters, "a b c d , f g h i") == [5, 4]
    assert sizes(letters, "a b c d e f g , i") == [8, 1]
    assert sizes(letters, "a b c d e f g h ,") == [8, 1]
    assert sizes(letters, "a BREAK b") == [1, 1]
    assert sizes(letters, "a BREAK") == [1]
    assert sizes(letters, "BREAK a") == [0, 1]


def test_chunks_beyond_the_last_are_cut(letters: Chunker) -> None:
    chunks = letters.chunks(weighted("a " * 40))
    assert letters.cut(chunks) == Truncation("text_encoder", 32, 40)
    assert len(chunks) == 4
    assert letters.cut(chunks) is None


@pytest.fixture(scope="module", params=[sd15, sdxl], ids=["SD 1.5", "SDXL"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(request.param(tmp_path_factory.mktemp("weighted") / "m"))


WEIGHTINGS: tuple[Weighting, ...] = ("interpolated", "mean")


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("prompt", ["", "a cat", "a red apple, x"])
def test_a_prompt_without_weights_is_what_it_is(
    bundle: Bundle, prompt: str, weighting: Weighting
) -> None:
    plain, found = bundle.encode_prompt(prompt), bundle.encode_prompt(prompt, weighting)
    torch.testing.assert_close(found.embeddings, plain.embeddings, rtol=0, atol=2e-6)
    if plain.pooled is not None:
        torch.testing.assert_close(found.pooled, plain.pooled, rtol=0, atol=2e-6)


def test_long_prompts_are_chunks_side_by_side(bundle: Bundle) -> None:
    first, second = "a" * 75, "b" * 20
    found = bundle.encode_prompt(f"{first} BREAK {second}", "interpolated")
    apart = [bundle.encode_prompt(each) for each in (first, second)]
    wanted = torch.cat([each.embeddings for each in apart])
    torch.testing.assert_close(found.embeddings, wanted, rtol=0, atol=2e-6)
    if found.pooled is not None:
        torch.testing.assert_close(found.pooled, apart[0].pooled, rtol=0, atol=2e-6)
    three = bundle.encode_prompt("a BREAK b BREAK c", "interpolated").embeddings
    empty = bundle.encode_prompt("").embeddings
    torch.testing.assert_close(three[3 * 77 :], empty, rtol=0, atol=2e-6)
    long = bundle.encode_prompt("c" * 400, "interpolated")
    assert len(long.embeddings) == 4 * 77
    assert [(cut.read, cut.tokens) for cut in long.truncations] == [(300, 400)] * len(
        long.truncations
    )
    assert long.truncations


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, CLIPTextModel, Any]:
    """Return Stable Diffusion 1.5, with its text encoder and tokenizer in transformers."""
    folder = sd15(tmp_path_factory.mktemp("alone") / "m")
    bundle = load_bundle(folder)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    return bundle, encoder, bundle._text._parts[0].tokenizer  # type: ignore[attr-defined]


@torch.inference_mode()
def states(encoder: CLIPTextModel, tokenizer: Any, prompt: str) -> Tensor:
    tokens = tokenizer([prompt], padding="max_length", max_length=77, return_tensors="pt")
    found: Tensor = encoder(tokens.input_ids).last_hidden_state[0]
    return found


def test_weights_act_on_the_states_of_their_tokens(
    alone: tuple[Bundle, CLIPTextModel, Any],
) -> None:
    bundle, encoder, tokenizer = alone
    plain, empty = (states(encoder, tokenizer, text) for text in ("ab cd", ""))
    weights = torch.ones(77, 1)
    weights[3:5] = 1.4  # after the mark of the start, a and b
    wanted = empty + weights * (plain - empty)
    found = bundle.encode_prompt("ab (cd:1.4)", "interpolated")
    torch.testing.assert_close(found.embeddings, wanted, rtol=0, atol=2e-6)
    scaled = weights * plain
    found = bundle.encode_prompt("ab (cd:1.4)", "mean")
    wanted = scaled * (plain.mean() / scaled.mean())
    torch.testing.assert_close(found.embeddings, wanted, rtol=1e-4, atol=1e-4)


def test_a_mean_of_zero_is_not_restored() -> None:
    states, weights = torch.zeros(2, 3, 4), torch.full((1, 3), 1.1)
    assert torch.isfinite(apply_weights(states, weights, "mean")).all()


def test_a_model_without_text_weights_nothing(tmp_path: Path) -> None:
    bundle = load_bundle(ddpm(tmp_path / "m"))
    assert not bundle.info.weights_prompts
    with pytest.raises(PromptError, match="cannot be weighted"):
        bundle.encode_prompt("a", "mean")


def test_runs_of_equal_weight_are_one() -> None:
    assert weighted("(a)(b)c") == [Run("ab", 1.1), Run("c", 1.0)]
