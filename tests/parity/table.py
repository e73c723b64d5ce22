"""The parity table: what a request draws here and in diffusers, from the same noise."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from sys import modules
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from jobs.catalogue import resolve
from jobs.schema import JobRequest
from tests.parity.entry import Entry, Sampler
from tests.parity.transformers import ENTRIES as TRANSFORMERS
from tests.parity.unet_family import ENTRIES as UNET_FAMILY
from tests.workers.harness import Bench, image_request
from workers.engine.messages import Failed
from workers.runtime.catalogue import model_entry

SEED = 11
ALL: tuple[Entry, ...] = (*UNET_FAMILY, *TRANSFORMERS)
"""Every layout; a family adds a module of its own."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Compared:
    """One cell of the table."""

    entry: Entry
    sampler: Sampler | None  # None: the model's own
    steps: int
    difference: int  # the largest, of 255
    flat: bool  # theirs shows nothing that a difference could be seen in

    @property
    def name(self) -> str:
        """The sampler and the schedule."""
        return f"{self.sampler.sampler}, {self.sampler.schedule}" if self.sampler else "own"

    @property
    def bound(self) -> int:
        """What the difference may be."""
        return self.entry.bound(self.sampler, self.steps)


def compared(entry: Entry, folder: Path, sampler: Sampler | None, steps: int) -> Compared:
    """Draw a layout, written to a folder, both ways."""
    bundle = load_bundle(folder)
    wanted, found = theirs(entry, folder, sampler, steps), ours(entry, bundle, sampler, steps)
    assert found.shape == wanted.shape
    difference = int(np.abs(found.astype(int) - wanted).max())
    return Compared(entry, sampler, steps, difference, flat=bool(wanted.std() < 1))


def ours(entry: Entry, bundle: Bundle, sampler: Sampler | None, steps: int) -> Pixels:
    """Return what the service draws for a request with this sampler."""
    model = model_entry(bundle.info, bundle.noise_schedule)
    asked: dict[str, Any] = {
        "prompt": entry.prompt or "",
        "num_inference_steps": steps,
        "guidance_scale": entry.guidance_scale,
        "guidance_rescale": entry.guidance_rescale,
        "seed": SEED,
    }
    if sampler is not None:
        asked |= {"sampler": sampler.sampler, "schedule": sampler.schedule}
    spec = resolve(JobRequest.model_validate(asked), model)
    bench = Bench(bundle)
    try:
        drawn = bench.draw(
            image_request(
                prompt=spec.prompt,
                seed=spec.seed,
                sampler=spec.sampler,
                schedule=spec.schedule,
                steps=spec.num_inference_steps,
                guidance_scale=spec.guidance_scale,
                guidance_rescale=spec.guidance_rescale,
                width=spec.width,
                height=spec.height,
            )
        )
    finally:
        Bench.running.remove(bench)
        bench.engine.stop()
    assert not bench.of(Failed)
    (pixels,) = drawn.values()
    return pixels


def theirs(entry: Entry, folder: Path, sampler: Sampler | None, steps: int) -> Pixels:
    """Return what diffusers' pipeline draws, from our noise."""
    pipeline = entry.pipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    if sampler is not None:
        pipeline.scheduler = sampler.scheduler.from_config(
            pipeline.scheduler.config, **sampler.options
        )
    asked = {"num_inference_steps": steps, "output_type": "np"}
    if entry.prompt is not None:
        asked |= {"prompt": entry.prompt, "guidance_scale": entry.guidance_scale}
    if entry.guidance_rescale:
        asked["guidance_rescale"] = entry.guidance_rescale
    asked = {k: v for k, v in {**asked, **entry.call}.items() if v is not None}
    with our_noise(pipeline):
        (image,) = pipeline(**asked).images
    pixels: Pixels = (image * 255).round().astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


@contextmanager
def our_noise(pipeline: Any) -> Iterator[None]:
    """Have a pipeline and its scheduler draw our noise: the first one, then each row's in turn."""
    row = INITIAL_ROW - 1

    def draw(shape: tuple[int, ...], **_: Any) -> torch.Tensor:
        nonlocal row
        row += 1
        return torch.from_numpy(standard_noise(SEED, IMAGES, row, tuple(shape[1:])))[None]

    kinds = {*type(pipeline).__mro__, *type(pipeline.scheduler).__mro__}
    with ExitStack() as stack:
        for kind in kinds:
            if hasattr(modules[kind.__module__], "randn_tensor"):
                stack.enter_context(patch.object(modules[kind.__module__], "randn_tensor", draw))
        yield


def cases(entry: Entry) -> Iterator[tuple[Sampler | None, int]]:
    """Yield the cells of a layout's row."""
    for sampler in (*([None] if entry.own else []), *entry.samplers):
        for steps in entry.steps:
            yield sampler, steps
