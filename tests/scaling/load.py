"""A load: requests and their times, drawn from a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[Sequence[int], Sequence[float], Sequence[int]]
"""Steps, guidance scales and numbers of images to choose from."""
SKETCH: Shape = ((4, 6, 8), (1.0,), (1, 1, 2))
IMAGE: Shape = ((15, 20, 25, 25, 30, 40, 50), (1.0, 3.0, 3.0, 7.0), (1, 1, 1, 2))
LONG: Shape = ((100, 150, 200), (3.0, 7.0), (1,))
SET: Shape = ((25, 30), (3.0, 7.0), (8, 12, 16))


@dataclass(frozen=True)
class Order:
    """One request; a guided one costs two rows a step."""

    at_s: float
    steps: int
    guidance: float
    images: int

    @property
    def passes(self) -> int:
        """Forward rows of one evaluation."""
        return 1 if self.guidance == 1.0 else 2

    @property
    def units(self) -> int:
        """Work of the whole request, in UNet rows."""
        return self.steps * self.passes * self.images


@dataclass(frozen=True)
class Stretch:
    """A part of the load with one rate; between stretches there are no requests."""

    from_s: float
    to_s: float
    per_s: float
    shapes: Sequence[Shape]  # chosen from evenly


DAY = (
    Stretch(20, 400, 0.04, (IMAGE, IMAGE, SKETCH)),  # a trickle
    Stretch(400, 460, 0.60, (IMAGE, IMAGE, IMAGE, SKETCH)),  # many ordinary requests
    Stretch(460, 800, 0.05, (IMAGE, IMAGE, SKETCH)),
    Stretch(800, 860, 0.15, (LONG, SET)),  # few requests, much work
    Stretch(860, 1200, 0.03, (IMAGE,)),
    Stretch(1700, 1760, 0.70, (SKETCH,)),  # many requests, little work, after 500 s of nothing
    Stretch(1760, 2200, 0.06, (IMAGE, IMAGE, SKETCH, LONG)),
)
"""Forty minutes: a trickle, bursts of ordinary, large and small requests, a quiet stretch."""


def drawn(seed: int, stretches: Sequence[Stretch] = DAY) -> tuple[Order, ...]:
    """Return a load of Poisson arrivals."""
    chooser = random.Random(seed)
    orders = []
    for stretch in stretches:
        at = stretch.from_s + chooser.expovariate(stretch.per_s)
        while at < stretch.to_s:
            steps, guidance, images = (chooser.choice(c) for c in chooser.choice(stretch.shapes))
            orders.append(Order(round(at, 2), int(steps), guidance, int(images)))
            at += chooser.expovariate(stretch.per_s)
    return tuple(orders)
