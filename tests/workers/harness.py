"""An engine driven tick by tick on the test's own thread, its reports in a list."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diffusion.bundle import Bundle
from workers.engine import Engine, EngineSettings
from workers.messages import Finished, Picture, Report

R = TypeVar("R")
Pixels = NDArray[np.uint8]


def order(job_id: str = "job", **changes: object) -> Picture:
    """Return an order for a small picture."""
    picture = Picture(
        job_id=job_id,
        image=0,
        prompt="a red apple",
        negative_prompt="",
        seed=7,
        sampler="dpmpp_2m",
        schedule="karras",
        steps=6,
        eta=None,
        guidance_scale=2.0,
        guidance_rescale=0.0,
        width=32,
        height=32,
        preview=0,
        rank=1,
        age=0.0,
    )
    return replace(picture, **changes)  # type: ignore[arg-type]


class Bench:
    """An engine without its thread."""

    def __init__(self, bundle: Bundle, settings: EngineSettings | None = None) -> None:
        self.reports: list[Report] = []
        self.engine = Engine(bundle, settings or EngineSettings(), self.reports.append)

    def of(self, kind: type[R]) -> list[R]:
        """Return the reports of a kind."""
        return [report for report in self.reports if isinstance(report, kind)]

    def run(self, limit: int = 5000) -> dict[tuple[str, int], Pixels]:
        """Tick until nothing is left; return the finished pictures."""
        for _ in range(limit):
            if not self.engine.tick():
                return self.pictures()
        raise AssertionError(f"not done after {limit} ticks")

    def pictures(self) -> dict[tuple[str, int], Pixels]:
        """Return the pictures finished so far."""
        return {(f.job_id, f.image): f.pixels for f in self.of(Finished)}


def solo(
    bundle: Bundle, pictures: Iterable[Picture], settings: EngineSettings
) -> dict[tuple[str, int], Pixels]:
    """Return each picture as an engine draws it that has nothing else to do."""
    results: dict[tuple[str, int], Pixels] = {}
    for picture in pictures:
        bench = Bench(bundle, settings)
        bench.engine.submit(picture)
        results |= bench.run()
    return results
