"""A worker whose device has a stated speed.

A forward pass takes ``fixed + row · rows`` seconds in all; the rest of the time the thread sleeps,
as one does that waits for an accelerator, so that several workers do not compete for the processor.
"""

from time import perf_counter, sleep

from torch import Tensor

from diffusion.backbones.backbone import Backbone, Inputs
from diffusion.bundle.bundle import Bundle
from tests.backbones import Wrapped
from tests.benchmarks.engine.policy import Cost
from tests.faults import children
from workers import app as worker_app
from workers.loading import load
from workers.settings import WorkerSettings


class Paced(Wrapped):
    """A network whose passes take no less than the stated time."""

    def __init__(self, inner: Backbone, cost: Cost) -> None:
        super().__init__(inner)
        self._cost = cost

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the network's output, in time."""
        due = perf_counter() + self._cost.tick(len(sample))
        prediction = super().predict(sample, c_noise, inputs)
        sleep(max(0.0, due - perf_counter()))
        return prediction


def paced_worker(words: list[str], cost: Cost) -> None:
    """Run a worker of this speed."""

    def paced(settings: WorkerSettings) -> Bundle:
        bundle = load(settings)
        bundle.backbone = Paced(bundle.backbone, cost)
        return bundle

    worker_app.load = paced  # type: ignore[attr-defined]
    children.worker(words)
