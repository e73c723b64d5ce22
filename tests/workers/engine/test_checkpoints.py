"""How often states are saved."""

import pytest

from diffusion.bundle.bundle import Bundle
from tests.workers.harness import Bench, image_request
from workers.engine import engine
from workers.engine.engine import EngineSettings
from workers.engine.messages import Saved

STATE = 2 * 4 * 4 * 4 * 4  # bytes of two registers of tiny latents


def saves(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, checkpoint_s: float) -> int:
    """Return how many states are saved of one image of 20 steps, half a second each."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(engine, "monotonic", clock)
    bench = Bench(bundle, EngineSettings(checkpoint_s=checkpoint_s))
    bench.draw(image_request(steps=20))
    return len(bench.of(Saved))


def test_states_that_are_large_are_saved_less_often(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = saves(bundle, monkeypatch, 1.0)
    monkeypatch.setattr(engine, "CHECKPOINT_BYTES_PER_S", STATE / 4)  # four seconds each
    seldom = saves(bundle, monkeypatch, 1.0)
    assert 2 <= seldom <= often / 2
    assert saves(bundle, monkeypatch, 0.0) > seldom  # after each tick
