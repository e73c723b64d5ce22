"""Images of a model drawn by the engine's own tick: alone, mixed, and taken up again."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from jobs.catalogue import resolve
from jobs.schema import JobRequest
from tests.workers.harness import Bench, Pixels, image_request, solo
from workers.engine.engine import EngineSettings
from workers.engine.messages import ImageRequest, Resume, Saved
from workers.runtime.catalogue import model_entry

SEED = 11
PROMPTS = ("a red apple", "cat", "", "A Red Apple, and another one. " * 40)


def noise(*shape: int) -> Tensor:
    """Return the noise (1, C, h, w) that an image of our seed begins as."""
    return torch.from_numpy(standard_noise(SEED, IMAGES, INITIAL_ROW, shape))[None]


def drawn(bundle: Bundle, prompt: str, **options: Any) -> Pixels:
    """Return an image as the engine draws it."""
    request = image_request(prompt=prompt, seed=SEED, **options)
    return solo(bundle, [request], EngineSettings())["job", 0]


def by_default(bundle: Bundle, **given: Any) -> dict[str, Any]:
    """Return the options of a request that names no others, filled in as the door does."""
    entry = model_entry(bundle.info, bundle.noise_schedule)
    spec = resolve(JobRequest.model_validate({"prompt": ""} | given), entry)
    return {
        "sampler": spec.sampler,
        "schedule": spec.schedule,
        "steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
        "width": spec.width,
        "height": spec.height,
    }


def levels_apart(a: Pixels, b: Pixels) -> int:
    """Return the largest difference of two images, which are no flat ones."""
    assert a.shape == b.shape
    assert a.std() > 1, "a flat image proves nothing"
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def mixed_requests(samplers: list[str], schedule: str) -> list[ImageRequest]:
    """Return requests that differ in sampler, steps, guidance and the lengths of their prompts."""
    chooser = random.Random(5)
    return [
        image_request(
            f"job{i}",
            sampler=sampler,
            schedule=schedule,
            steps=chooser.randint(1, 8),
            seed=chooser.randrange(2**40),
            prompt=PROMPTS[i % len(PROMPTS)],
            negative_prompt=chooser.choice(["", "blurry"]),
            guidance_scale=chooser.choice([1.0, 2.0, 5.5]),
            guidance_rescale=chooser.choice([0.0, 0.7]),
        )
        for i, sampler in enumerate(samplers)
    ]


def assert_mixed_equals_solo(bundle: Bundle, requests: list[ImageRequest]) -> None:
    """Compare images drawn together and alone: bit for bit in deterministic mode."""
    for deterministic in (False, True):
        settings = EngineSettings(slots=6, rows_per_tick=6, deterministic=deterministic)
        together = Bench(bundle, settings).draw(*requests)
        alone = solo(bundle, requests, settings)
        assert len(together) == len(requests)
        for key, pixels in alone.items():
            apart = np.abs(together[key].astype(int) - pixels.astype(int)).max()
            assert apart <= (0 if deterministic else 1), key


def assert_resumes(bundle: Bundle, request: ImageRequest) -> None:
    """Take an image up from each of its checkpoints: it ends as the same one."""
    settings = EngineSettings(checkpoint_s=0.0, deterministic=True, rows_per_tick=4)
    bench = Bench(bundle, settings)
    whole = bench.draw(request)["job", 0]
    states = bench.of(Saved)
    assert states
    for saved in states:
        resumed = replace(request, resume=Resume(saved.row, saved.state, saved.identity))
        assert np.array_equal(Bench(bundle, settings).draw(resumed)["job", 0], whole), saved.row
