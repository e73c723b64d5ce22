"""A worker whose device has a stated speed.

A forward pass takes ``fixed + row · rows`` seconds in all; the rest of the time the thread sleeps,
as one does that waits for an accelerator, so that several workers do not compete for the processor.
"""

from time import perf_counter, sleep
from typing import Any

from torch import Tensor

from diffusion.bundle.bundle import Bundle
from tests.benchmarks.engine.policy import Cost
from tests.faults import children
from workers import app as worker_app
from workers.host import load
from workers.settings import WorkerSettings


class PacedBackend:
    """A backend whose passes take no less than the stated time."""

    def __init__(self, bundle: Bundle, cost: Cost) -> None:
        self.name = bundle.backend.name
        self._predict = bundle.backend.predict
        self._cost = cost

    def predict(self, sample: Tensor, *conditioning: Any) -> Tensor:
        """Return the backend's prediction, in time."""
        due = perf_counter() + self._cost.tick(len(sample))
        prediction = self._predict(sample, *conditioning)
        sleep(max(0.0, due - perf_counter()))
        return prediction


def paced_worker(words: list[str], cost: Cost) -> None:
    """Run a worker of this speed."""

    def paced(settings: WorkerSettings) -> Bundle:
        bundle = load(settings)
        bundle.backend = PacedBackend(bundle, cost)
        return bundle

    worker_app.load = paced  # type: ignore[attr-defined]
    children.worker(words)
