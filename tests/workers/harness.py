"""An engine driven tick by tick on the test's own thread, its reports in a list."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from diffusion.bundle.bundle import Bundle
from diffusion.parts.safety import SafetyChecker
from workers.engine.engine import Engine, EngineSettings
from workers.engine.messages import Finished, ImageRequest, Report

R = TypeVar("R")
Pixels = NDArray[np.uint8]


def image_request(job_id: str = "job", **changes: object) -> ImageRequest:
    """Return a request for a small image."""
    request = ImageRequest(
        job_id=job_id,
        image=0,
        prompt="a red apple",
        seed=7,
        sampler="dpmpp_2m",
        schedule="karras",
        steps=6,
        guidance_scale=2.0,
        width=32,
        height=32,
        rank=1,
    )
    return replace(request, **changes)  # type: ignore[arg-type]


class Bench:
    """An engine without its thread; tests/workers/conftest.py stops it after its test."""

    running: ClassVar[list[Self]] = []

    def __init__(
        self,
        bundle: Bundle,
        settings: EngineSettings | None = None,
        failed: Callable[[Exception], None] = lambda _: None,
        safety: SafetyChecker | None = None,
    ) -> None:
        self.reports: list[Report] = []
        chosen = settings or EngineSettings()
        self.engine = Engine(bundle, chosen, self.reports.append, failed, safety)
        Bench.running.append(self)

    def of(self, kind: type[R]) -> list[R]:
        """Return the reports of a kind."""
        return [report for report in self.reports if isinstance(report, kind)]

    def draw(self, *requests: ImageRequest) -> dict[tuple[str, int], Pixels]:
        """Submit requests, tick until nothing is left and return the finished images."""
        for request in requests:
            self.engine.submit(request)
        self.opened()
        return self.run()

    def opened(self) -> None:
        """Wait until what was submitted can take slots, so that it does in the next tick."""
        vars(self.engine)["_overlap"].submit(lambda: None)()

    def run(self, limit: int = 5000) -> dict[tuple[str, int], Pixels]:
        """Tick until nothing is left; return the finished images."""
        for _ in range(limit):
            if not self.engine.tick():
                return self.images()
        raise AssertionError(f"not done after {limit} ticks")

    def images(self) -> dict[tuple[str, int], Pixels]:
        """Return the images finished so far."""
        return {(f.job_id, f.image): f.pixels for f in self.of(Finished)}


def solo(
    bundle: Bundle, requests: Iterable[ImageRequest], settings: EngineSettings
) -> dict[tuple[str, int], Pixels]:
    """Return each image as an engine draws it that has nothing else to do."""
    results: dict[tuple[str, int], Pixels] = {}
    for request in requests:
        results |= Bench(bundle, settings).draw(request)
    return results
