import torch

from diffusion.model import Conditioning
from workers.engine.prompt_cache import PromptCache

TOKEN_BYTES = 4 * 8


class Encoder:
    """Encodes a prompt as one token a word, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompt: str, _weighting: object = None) -> Conditioning:
        self.asked.append(prompt)
        return Conditioning(torch.ones(len(prompt.split()), 8), torch.ones(8))


def test_a_prompt_is_encoded_once() -> None:
    encode = Encoder()
    cache = PromptCache(encode)
    assert cache("a pear") is cache("a pear")
    assert encode.asked == ["a pear"]


def test_the_prompt_that_was_not_asked_for_longest_goes_once_bytes_are_too_many() -> None:
    encode = Encoder()
    cache = PromptCache(encode, bytes_kept=6 * TOKEN_BYTES)  # two words and the pooled one, twice
    for prompt in ("a pear", "a plum", "a pear", "a fig", "a pear", "a plum"):
        cache(prompt)
    assert encode.asked == ["a pear", "a plum", "a fig", "a plum"]


def test_a_prompt_beyond_the_bound_is_kept_alone() -> None:
    encode = Encoder()
    cache = PromptCache(encode, bytes_kept=TOKEN_BYTES)
    for prompt in ("a pear", "a pear", "a fig", "a fig"):
        cache(prompt)
    assert encode.asked == ["a pear", "a fig"]
