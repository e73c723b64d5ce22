"""Prompts whose brackets weight them, and that are longer than an encoder reads at once.

``(a)`` weights by 1.1, ``(a:1.3)`` by 1.3, ``[a]`` by 1/1.1, one in the other by the product; a
backslash makes a bracket text, and ``BREAK`` begins the next chunk. What no bracket closes reaches
to the end of the prompt. The meaning is AUTOMATIC1111's.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from diffusion.model import Truncation

Weighting = Literal["interpolated", "mean"]
"""How a weight w acts on a token's state e: e₀ + w·(e − e₀), where e₀ is that of an empty prompt in
its place; or w·e, and the chunk's mean is restored, unless it is near 0."""

FACTORS = {"(": 1.1, "[": 1 / 1.1}
CLOSING = {")": "(", "]": "["}
MOST_WEIGHT = 16.0
"""Of a token, and of a number in a prompt: larger ones would overflow in the network."""
MOST_NESTED = 64
"""Brackets in one another; further ones are text."""
CHUNKS = (1, 2, 4)
"""Chunks that a prompt may take; a prompt of three has an empty fourth. Chunks of shorter prompts
are repeated beside longer ones, which attention does not see."""
BACKTRACK = 20
"""Tokens that go on to the next chunk at most, so that a chunk ends with a comma."""
MARK = re.compile(
    r"""\\[()\[\]\\] | \\ | [(\[] | :\s*(?P<weight>[+-]?[.\d]+)\s*\) | [)\]] | [^\\()\[\]:]+ | :""",
    re.VERBOSE,
)
BREAK = re.compile(r"(?<!\s)\s*\bBREAK\b\s*")


@dataclass
class Run:
    """A text whose tokens have the same weight; None begins a new chunk."""

    text: str | None
    weight: float = 1.0


def weighted(prompt: str) -> list[Run]:
    """Return a prompt's runs in their order; neighbours differ in weight. Wrong syntax is text."""
    weigher = _Weigher()
    for match in MARK.finditer(prompt):
        weigher.take(match[0], _number(match["weight"]))
    for bracket, opened in weigher.opened.items():
        while opened:
            weigher.close(bracket, FACTORS[bracket])
    for run in weigher.runs:
        run.weight = _limited(run.weight)
    return _merged(weigher.runs)


class _Weigher:
    """The runs of a prompt as far as it has been read, and its open brackets."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.opened: dict[str, list[int]] = {"(": [], "[": []}  # where each begins in the runs

    def take(self, token: str, weight: float | None) -> None:
        """Read on."""
        closed = CLOSING.get(token, "")
        if token[0] == "\\":
            self.runs.append(Run(token[1:]))
        elif token in self.opened and len(self.opened[token]) < MOST_NESTED:
            self.opened[token].append(len(self.runs))
        elif weight is not None and self.opened["("]:
            self.close("(", weight)
        elif closed and self.opened[closed]:
            self.close(closed, FACTORS[closed])
        else:
            self.runs += _at_breaks(token)

    def close(self, bracket: str, factor: float) -> None:
        """Weight what is in the innermost bracket of a kind."""
        for run in self.runs[self.opened[bracket].pop() :]:
            run.weight *= factor


def _limited(weight: float) -> float:
    return min(max(weight, -MOST_WEIGHT), MOST_WEIGHT)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else _limited(float(text))  # no product of these overflows
    except ValueError:  # such as 1.2.3
        return None


def _at_breaks(text: str) -> Iterator[Run]:
    for i, part in enumerate(BREAK.split(text)):
        if i:
            yield Run(None)
        yield Run(part)


def _merged(runs: Sequence[Run]) -> list[Run]:
    found: list[Run] = []
    for run in runs:
        last = found[-1] if found else None
        if last is None or None in (last.text, run.text) or last.weight != run.weight:
            found.append(run)
        else:
            last.text = f"{last.text}{run.text}"
    return found or [Run("")]


@dataclass
class Chunk:
    """Tokens without marks of start and end, and their weights."""

    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    comma: int = 0  # tokens up to its last comma

    def cut_at_comma(self) -> "Chunk":
        """Move what follows a comma that is near the end to a new chunk, and return that."""
        at = self.comma if self.comma and len(self.tokens) - self.comma <= BACKTRACK else None
        if at is None:
            return Chunk()
        after = Chunk(self.tokens[at:], self.weights[at:])
        del self.tokens[at:], self.weights[at:]
        return after


class Chunker:
    """Cuts prompts into chunks of what one encoder reads."""

    def __init__(self, name: str, tokenizer: Any, length: int, most: int) -> None:
        """``length`` is that of a chunk with its marks, ``most`` the number of chunks."""
        self.name = name
        self.most = most
        self._length = length
        self._words: Callable[[str], list[int]] = lambda text: list(
            tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        )
        empty = tokenizer("", padding="max_length", max_length=length).input_ids
        self._start, self._end, self._padding = empty[0], empty[1], empty[-1]
        self._comma = self._words(",")

    @property
    def room(self) -> int:
        """Tokens in a chunk, without its marks."""
        return self._length - 2

    def chunks(self, runs: Sequence[Run]) -> list[Chunk]:
        """Return as many chunks as the prompt needs, one at least."""
        found = [Chunk()]
        for run in runs:
            if run.text is None:
                found.append(Chunk())
                continue
            for token in self._words(run.text):
                self._add(found, token, run.weight)
        return found[:-1] if len(found) > 1 and not found[-1].tokens else found

    def _add(self, found: list[Chunk], token: int, weight: float) -> None:
        is_comma = [token] == self._comma
        if len(found[-1].tokens) == self.room:
            found.append(Chunk() if is_comma else found[-1].cut_at_comma())
        last = found[-1]
        last.tokens.append(token)
        last.weights.append(weight)
        if is_comma:
            last.comma = len(last.tokens)

    def cut(self, chunks: list[Chunk]) -> Truncation | None:
        """Drop the chunks beyond the most, and return what that was, None for nothing."""
        tokens = sum(len(chunk.tokens) for chunk in chunks)
        del chunks[self.most :]
        read = sum(len(chunk.tokens) for chunk in chunks)
        return Truncation(self.name, read, tokens) if read < tokens else None

    def tensors(self, chunks: Sequence[Chunk], count: int) -> tuple[Tensor, Tensor]:
        """Return tokens (count + 1, L) and weights (count, L); where no chunk is left, empty."""
        tokens, weights = [], []
        for at in range(count + 1):
            chunk = chunks[at] if at < len(chunks) else Chunk()
            rest = self._length - 2 - len(chunk.tokens)
            tokens.append([self._start, *chunk.tokens, self._end, *[self._padding] * rest])
            weights.append([1.0, *chunk.weights, 1.0, *[1.0] * rest])
        return torch.tensor(tokens), torch.tensor(weights[:count])


def apply_weights(states: Tensor, weights: Tensor, weighting: Weighting) -> Tensor:
    """Return weighted states (N, L, D) of states (N + 1, L, D), the last of an empty prompt.

    Args:
        weights: of their tokens, (N, L).
    """
    states, empty = states[:-1], states[-1]
    if bool((weights == 1).all()):
        return states
    by_token = weights.to(states)[..., None]
    if weighting == "interpolated":
        moved = torch.lerp(empty.expand_as(states), states, by_token)
        return torch.where(by_token == 1, states, moved)
    scaled = states * by_token
    before, after = (each.mean((1, 2), keepdim=True) for each in (states, scaled))
    factor = before / after
    return scaled * torch.where(factor.abs() <= MOST_WEIGHT, factor, 1.0)  # NaN is not
