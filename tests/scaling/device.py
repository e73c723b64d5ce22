"""A worker process beside a device of a stated speed.

The device is the model's own forward pass, made to take ``fixed + row · rows`` seconds in all.
The rest of the time the thread sleeps, as one does that waits for an accelerator, so that several
workers do not compete for the processor. Everything else is the worker as it ships, run by
Celery's own command. It is forked from a server that has imported its libraries, so that a start
takes what is stated and not what this machine happens to be busy with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from torch import Tensor

from diffusion.backends.backend import Backend
from diffusion.bundle.bundle import Bundle
from jobs.settings import JobsSettings, read_environment
from tests.benchmarks.engine.policy import Cost
from tests.faults import children
from tests.faults.processes import Worker
from workers import app as worker_app
from workers.host import load
from workers.settings import WorkerSettings


class PaceSettings(BaseSettings):
    """What a child reads of its device."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_PACE_", frozen=True, extra="ignore")

    fixed_s: float = Field(ge=0)
    row_s: float = Field(ge=0)
    cold_start_s: float = Field(ge=0)


class PacedBackend:
    """A backend whose passes take no less than the stated time."""

    def __init__(self, inner: Backend, cost: Cost) -> None:
        self.name = inner.name
        self._inner = inner
        self._cost = cost

    def predict(
        self,
        sample: Tensor,
        timesteps: Tensor,
        embeddings: Tensor,
        added: Mapping[str, Tensor] | None,
    ) -> Tensor:
        """Return the inner backend's prediction, in time."""
        due = perf_counter() + self._cost.tick(len(sample))
        prediction = self._inner.predict(sample, timesteps, embeddings, added)
        sleep(max(0.0, due - perf_counter()))
        return prediction


@dataclass(frozen=True)
class Device:
    """What a worker is given: a model in its layout and how fast it is to be."""

    model: Path
    cost: Cost
    rows_per_tick: int
    slots: int
    cold_start_s: float = 0.0  # before the process boots: a node, an image, weights

    def worker(self, settings: JobsSettings, name: str, log: Path) -> Worker:
        """Start a worker."""
        return Worker(
            settings,
            self.model,
            name,
            log,
            target=paced_worker,
            deterministic=0,
            slots=self.slots,
            rows_per_tick=self.rows_per_tick,
            pace_fixed_s=self.cost.fixed,
            pace_row_s=self.cost.row,
            pace_cold_start_s=self.cold_start_s,
        )


def paced_worker(words: list[str]) -> None:
    """Run a worker whose model is as fast as the environment says."""
    pace = read_environment(PaceSettings)

    def paced(settings: WorkerSettings) -> Bundle:
        bundle = load(settings)
        bundle.backend = PacedBackend(bundle.backend, Cost(pace.fixed_s, pace.row_s))
        return bundle

    worker_app.load = paced  # type: ignore[attr-defined]
    sleep(pace.cold_start_s)
    children.worker(words)
