"""The text of a prompt at each sampling step, in the syntax of AUTOMATIC1111's web UI.

``[before:after:when]`` changes its text after a step, ``[a|b]`` at every step. Other brackets are
left to the text encoder. Anything malformed is text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.errors import InvalidRequest

PromptSyntax = Literal["plain", "a1111", "a1111_mean"]
"""`a1111` and `a1111_mean` differ in how weights act on a prompt's states."""

MAX_BRACKETS = 32
"""Of those in one prompt that change its text."""
MOST_NESTED = 64
"""Brackets in one another; further ones are text."""
MAX_TEXTS = 16
"""Distinct texts of one prompt, each of which is encoded."""
TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
OPENING = {"]": "[", ")": "("}
WHEN = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*")


@dataclass(frozen=True)
class Piece:
    """A text, and the last step, counted from 1, that it holds for."""

    until: int
    text: str


Part = list["str | Bracket"]


@dataclass(frozen=True)
class Bracket:
    """A part of a prompt that changes: its alternatives, and when the second replaces the first."""

    parts: Sequence[Part]
    when: float | None  # in steps, or in the whole if there is a point in it; None: in turns
    fraction: bool = False

    def part(self, step: int, steps: int) -> Part:
        """Return what holds at a step."""
        if self.when is None:
            return self.parts[(step - 1) % len(self.parts)]
        last = min(max(0.0, self.when * steps if self.fraction else self.when), steps)
        return self.parts[step > int(last)]


def prompt_schedule(prompt: str, steps: int) -> tuple[Piece, ...]:
    """Return the texts of a prompt over its steps; neighbours differ.

    Raises:
        ValueError: it has too many brackets or texts.
    """
    tree, brackets = _parsed(prompt)
    found: list[Piece] = []
    for step in range(1, steps + 1 if brackets else 2):
        text = _text(tree, step, steps)
        if found and found[-1].text == text:
            found.pop()
        found.append(Piece(step, text))
    texts = len({piece.text for piece in found})
    if texts > MAX_TEXTS:
        raise ValueError(
            f"the prompt changes between {texts} texts; at most {MAX_TEXTS} are allowed"
        )
    return (*found[:-1], Piece(steps, found[-1].text))


def check_prompts(syntax: PromptSyntax, steps: int, **prompts: str) -> None:
    """Refuse prompts, by the names of their fields, that change too often.

    Raises:
        InvalidRequest: one does.
    """
    for field, prompt in prompts.items() if syntax != "plain" else ():
        try:
            prompt_schedule(prompt, steps)
        except ValueError as error:
            raise InvalidRequest(field, str(error)) from error


def _text(part: Part, step: int, steps: int) -> str:
    return "".join(
        each if isinstance(each, str) else _text(each.part(step, steps), step, steps)
        for each in part
    )


@dataclass
class _Open:
    """A bracket that has not been closed."""

    mark: str
    parts: list[Part]
    separators: list[str]

    def take(self, *given: "str | Bracket") -> None:
        """Add to its last part; neighbouring texts become one."""
        part = self.parts[-1]
        for each in given:
            if part and isinstance(part[-1], str) and isinstance(each, str):
                part[-1] += each
            else:
                part.append(each)

    def written(self) -> Part:
        """Return it as it stands, without its end."""
        whole: Part = [self.mark, *self.parts[0]]
        for separator, part in zip(self.separators, self.parts[1:], strict=True):
            whole += [separator, *part]
        return whole


def _parsed(prompt: str) -> tuple[Part, int]:
    """Return a prompt as text and brackets, and how many of these there are, inner ones too.

    Raises:
        ValueError: there are too many.
    """
    stack = [_Open("", [[]], [])]
    brackets = 0
    for token in TOKEN.findall(prompt):
        top = stack[-1]
        if token in ("(", "[") and len(stack) <= MOST_NESTED:
            stack.append(_Open(token, [[]], []))
        elif token in (":", "|") and len(stack) > 1:
            top.separators.append(token)
            top.parts.append([])
        elif (top.mark, token) in (("[", "]"), ("(", ")")):
            stack.pop()
            bracket = _bracket(top) if top.mark == "[" else None
            brackets += bracket is not None
            if brackets > MAX_BRACKETS:
                raise ValueError(f"more than {MAX_BRACKETS} brackets change the prompt")
            stack[-1].take(*([*top.written(), token] if bracket is None else [bracket]))
        else:
            if token in OPENING:
                _give_up(stack, OPENING[token])
            stack[-1].take(token)
    _give_up(stack, "")
    return stack[0].parts[0], brackets


def _give_up(stack: list[_Open], mark: str) -> None:
    """Have what is open down to the last such mark be text; with none open, nothing is."""
    if mark not in [each.mark for each in stack]:
        return
    while len(stack) > 1:
        last = stack.pop()
        stack[-1].take(*last.written())
        if last.mark == mark:
            return


def _bracket(closed: _Open) -> Bracket | None:
    """Return what a closed bracket changes, None if it is another or no such bracket."""
    *parts, last = closed.parts
    when = WHEN.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
    if when is not None and closed.separators[-1:] == [":"]:
        texts = _split_at_colons(closed.separators[:-1], parts)
        if len(texts) > 2:
            return None
        return Bracket([[], *texts][-2:], float(when[1]), fraction="." in when[1])
    if closed.separators and ":" not in closed.separators:
        return Bracket(closed.parts, None)
    return None


def _split_at_colons(separators: Sequence[str], parts: Sequence[Part]) -> list[Part]:
    """Return parts with colons between; other separators are text."""
    found = [list(parts[0])]
    for separator, part in zip(separators, parts[1:], strict=True):
        if separator == ":":
            found.append(list(part))
        else:
            found[-1] += [separator, *part]
    return found
