"""The axes of a grid: parsing them, and applying their values to jobs."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import typer

from service.client.views import ModelView

Value = str | int | float


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError
    return value


PARAMETERS: dict[str, tuple[str, Callable[[str], Value]]] = {
    "guidance": ("guidance_scale", _real),
    "model": ("model", str),
    "prompt": ("prompt", str),
    "sampler": ("sampler", str),
    "schedule": ("schedule", str),
    "seed": ("seed", _whole),
    "steps": ("num_inference_steps", _whole),
}
"""What can be varied: the field of a job, and how its values are parsed."""


@dataclass(frozen=True)
class Axis:
    """A parameter and its values."""

    place: str  # x or y
    name: str = ""  # empty: nothing is varied, and there is one value
    values: tuple[Value, ...] = ("",)

    @property
    def labels(self) -> list[str]:
        """The labels of its rows or columns."""
        return [self.label(value) for value in self.values]

    def label(self, value: Value) -> str:
        """Return the label of a value in the image and in messages."""
        text = value_text(value)
        return text if self.name in ("", "prompt") else f"{self.name} {text}"

    def applied(self, request: dict[str, Any], value: Value) -> dict[str, Any]:
        """Return a request with one of the values; in a prompt it replaces ``{x}`` or ``{y}``."""
        if not self.name:
            return request
        if self.name == "prompt":
            value = request["prompt"].replace(self.placeholder, str(value))
        return request | {PARAMETERS[self.name][0]: value}

    @property
    def placeholder(self) -> str:
        """What this axis' value replaces in a prompt."""
        return f"{{{self.place}}}"


def value_text(value: Value) -> str:
    """Return a value as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_axis(place: str, text: str | None) -> Axis:
    """Return the axis of ``NAME=VALUE,VALUE,…``; quote a value that contains a comma.

    Raises:
        typer.BadParameter: the parameter or a value is invalid.
    """
    if text is None:
        return Axis(place)
    name, equals, given = text.partition("=")
    if not equals or name not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise _bad(place, f"{name!r} cannot be varied; use NAME=VALUE,VALUE,… with one of {known}")
    values = [_value(place, name, each) for each in next(csv.reader([given])) or [""]]
    if len(set(values)) < len(values):
        raise _bad(place, f"{given!r} repeats a value")
    return Axis(place, name, tuple(values))


def _value(place: str, name: str, text: str) -> Value:
    try:
        if not text.strip():
            raise ValueError
        return PARAMETERS[name][1](text.strip())
    except ValueError:
        raise _bad(place, f"{text!r} is not a valid value of {name}") from None


def check_axes(axes: Sequence[Axis], prompt: str, given: Mapping[str, Any]) -> None:
    """Refuse axes that conflict with each other, the prompt, or the fields that are given.

    Raises:
        typer.BadParameter: they do; the message says how.
    """
    if len({axis.name for axis in axes}) < len(axes) and axes[0].name != "prompt":
        raise _bad(axes[1].place, f"{axes[1].name} is already on --{axes[0].place}")
    for axis in axes:
        if axis.name and given.get(PARAMETERS[axis.name][0]) is not None:
            raise _bad(axis.place, f"vary {axis.name} or give --{axis.name}, not both")
        if axis.name == "prompt" and axis.placeholder not in prompt:
            raise _bad(axis.place, f"the prompt has no {axis.placeholder} for its values")


def check_names(axes: Sequence[Axis], models: Sequence[ModelView]) -> None:
    """Refuse names that the service does not have. Raises: typer.BadParameter."""
    samplers = [sampler for model in models for sampler in model.samplers]
    known = {
        "model": {model.name for model in models},
        "sampler": {sampler.name for sampler in samplers},
        "schedule": {schedule for sampler in samplers for schedule in sampler.schedules},
    }
    for axis in axes:
        names = known.get(axis.name, set(axis.values))
        for value in axis.values:
            if value not in names:
                there = ", ".join(sorted(map(str, names)))
                raise _bad(axis.place, f"the service has no {axis.name} {value!r}; it has: {there}")


def _bad(place: str, message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=f"--{place}")
