"""A bound that was lowered for want of memory comes back."""

from collections.abc import Sequence
from copy import copy

import pytest
import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.bundle.bundle import Bundle
from tests.backbones import Wrapped
from tests.workers.harness import Bench, image_request
from workers.engine import engine
from workers.engine.engine import EngineSettings
from workers.engine.growth import FIRST_S, MOST_S, Growth
from workers.engine.messages import Failed, Finished

ROWS = 8


class Small(Wrapped):
    """Holds so many rows, and more after some calls."""

    room = 4
    grows_after = 0

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Run out of memory."""
        if len(prediction) > self.room and len(self.calls) <= self.grows_after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return prediction


def test_a_bound_comes_back_once_there_is_memory_again(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 5.0
        return now[0]

    monkeypatch.setattr(engine, "monotonic", clock)
    small = copy(bundle)
    network = small.backbone = Small(bundle.backbone)
    network.grows_after = 30
    bench = Bench(small, EngineSettings(slots=ROWS, rows_per_tick=ROWS))
    requests = [image_request(f"job{i}", steps=60, guidance_scale=1.0) for i in range(ROWS)]
    bench.draw(*requests)
    assert bench.of(Failed) == []
    assert len(bench.of(Finished)) == ROWS
    assert bench.engine.rows_per_tick == ROWS
    failed = [i for i, rows in enumerate(network.calls) if rows > network.room and i < 30]
    assert 2 <= len(failed) <= 3  # not every tick
    assert ROWS in network.calls[30:]


def test_pauses_double_up_to_an_hour() -> None:
    growth, now, pauses = Growth(), 0.0, []
    for _ in range(9):
        growth.wait_longer(now)
        began = now
        while not growth.is_due(now):
            now += 1.0
        pauses.append(now - began)
    assert pauses[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert pauses[-1] == MOST_S
