"""Previews beside the forward pass: how many, and what happens where they do not fit."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.schedules.schedule import sampling_levels
from tests.workers.harness import Bench, image_request
from workers.engine import postprocess
from workers.engine.engine import EngineSettings
from workers.engine.messages import Finished, ImageRequest, Previewed, Saved
from workers.engine.postprocess import fitting
from workers.engine.sampling_plan import sampling_plan

IMAGE = 32 * 32  # pixels
EACH_STEP = EngineSettings(preview_s=0, checkpoint_s=0, deterministic=True, rows_per_tick=4)
"""Is previewed and saved, and no image's numbers depend on the other."""


class Decoder:
    """Notes how many latents each call decodes; the first ``failures`` calls run out of memory."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[int] = []
        self._failures = failures

    def decode(self, latents: Tensor) -> Tensor:
        self.calls.append(len(latents))
        if len(self.calls) <= self._failures:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return latents[:, :3].clamp(-1, 1)

    def taken(self) -> list[int]:
        """Return the calls since this was asked last."""
        calls, self.calls = self.calls, []
        return calls


def drawn(
    bundle: Bundle,
    decoder: Decoder,
    images: int,
    preview_s: float = 0.0,
    after_tick: Callable[[], None] = lambda: None,
) -> Bench:
    previewed = copy(bundle)
    previewed.previews = decoder
    bench = Bench(previewed, EngineSettings(slots=16, rows_per_tick=32, preview_s=preview_s))
    for i in range(images):
        bench.engine.submit(image_request(f"job{i}", preview=1, steps=8))
    bench.opened()
    while bench.engine.tick():
        after_tick()
    return bench


def test_a_call_of_the_decoder_and_a_pass_decode_no_more_than_their_pixels(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postprocess, "AT_ONCE_PIXELS", 2 * IMAGE)
    monkeypatch.setattr(postprocess, "A_TICK_PIXELS", 5 * IMAGE)
    decoder = Decoder()
    by_pass: list[list[int]] = []
    bench = drawn(bundle, decoder, images=12, after_tick=lambda: by_pass.append(decoder.taken()))
    assert [2, 2, 1] in by_pass
    assert all(sum(calls) <= 5 and max(calls, default=0) <= 2 for calls in by_pass)
    # Those that have waited longest go first: each image gets about as many as the others.
    counts = [sum(p.job_id == f"job{i}" for p in bench.of(Previewed)) for i in range(12)]
    assert min(counts) >= 2
    assert max(counts) - min(counts) <= 2
    assert len(bench.of(Finished)) == 12


def test_previews_that_do_not_fit_in_memory_are_tried_again(bundle: Bundle) -> None:
    decoder = Decoder(failures=2)
    bench = drawn(bundle, decoder, images=1)
    shown = [report.step for report in bench.of(Previewed)]
    assert shown == [3, 4, 5, 6, 7]
    assert len(bench.of(Finished)) == 1


class Recorder:
    """Keeps every latent that it decodes, in order."""

    def __init__(self) -> None:
        self.latents: list[Tensor] = []

    def decode(self, latents: Tensor) -> Tensor:
        self.latents += latents.clone()
        return latents[:, :3].clamp(-1, 1)


def recorded(
    bundle: Bundle, *requests: ImageRequest
) -> tuple[Bench, dict[tuple[str, int], Tensor]]:
    """Draw images; return the latents that were shown of each job at each step, too."""
    previewed, recorder = copy(bundle), Recorder()
    previewed.previews = recorder
    bench = Bench(previewed, EACH_STEP)
    bench.draw(*requests)
    shown = zip(bench.of(Previewed), recorder.latents, strict=True)
    return bench, {(report.job_id, report.step): latents for report, latents in shown}


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m"])
def test_a_batch_shows_the_sample_of_one_image_and_the_estimate_of_another(
    bundle: Bundle, sampler: str
) -> None:
    steps = 4
    asked: dict[str, Any] = {"sampler": sampler, "schedule": "trailing", "steps": steps}
    sample = image_request("sample", preview=1, preview_sample=True, **asked)
    estimate = image_request("estimate", seed=8, preview=1, **asked)
    bench, shown = recorded(bundle, sample, estimate)
    states = {saved.row: saved.state[0] for saved in bench.of(Saved) if saved.job_id == "sample"}
    plan = sampling_plan(sampler, bundle.noise_schedule, "trailing", steps, None)
    sigmas = sampling_levels(bundle.noise_schedule, "trailing", steps).sigmas
    for step in range(1, steps):
        state = torch.from_numpy(states[plan.steps_done.index(step)])
        wanted = state / float(np.hypot(1, sigmas[step]))
        torch.testing.assert_close(shown["sample", step], wanted)

    both = replace(sample, preview_sample=False)
    _, estimates = recorded(bundle, both, estimate)
    for step in range(1, steps):
        torch.testing.assert_close(shown["estimate", step], estimates["estimate", step])
        assert not torch.allclose(shown["sample", step], estimates["sample", step], atol=0.01)
    images = Bench(bundle, EACH_STEP).draw(*(replace(each, preview=0) for each in (both, estimate)))
    for key, pixels in images.items():
        assert np.array_equal(bench.images()[key], pixels)


def test_at_least_one_fits() -> None:
    assert fitting([], 10) == 0
    assert fitting([50], 10) == 1
    assert fitting([4, 4, 4], 10) == 2
    assert fitting([5, 5], 10) == 2
