"""Quality against steps: known images drawn with every sampler at many numbers of steps.

One sampler at one number of steps is a cell. Cells are saved to a JSON file as they are drawn, so
that a long measurement can be stopped and resumed.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from diffusion.bundle.bundle import Bundle
from diffusion.errors import SamplerError, ScheduleError
from diffusion.samplers.registry import SAMPLERS, compile_table
from model_export.errors import ExportError
from model_export.evaluation.gallery import Gallery
from model_export.evaluation.measures import psnr_db, ranks
from model_export.evaluation.sampling import SamplingSettings, draw

STEPS = (1, 2, 4, 8, 15, 25, 50, 1000)
LONG = 1000  # from so many steps on a cell may have fewer drawings


@dataclass(frozen=True)
class QualitySettings:
    """What is drawn, and how."""

    guidance_scale: float
    steps: tuple[int, ...] = STEPS
    drawings: int = 40  # per cell, one per example
    drawings_long: int | None = None  # per cell of LONG steps or more; None: as many
    seed: int = 0
    prompts: str = "en"

    def drawings_of(self, steps: int) -> int:
        """Return the number of drawings of a cell."""
        if steps < LONG or self.drawings_long is None:
            return self.drawings
        return self.drawings_long

    def rows(self, sampler: str, steps: int) -> int:
        """Return the UNet rows of one drawing; guidance takes two per evaluation."""
        return SAMPLERS[sampler].rows(steps) * (1 if self.guidance_scale == 1 else 2)


@dataclass(frozen=True)
class Cell:
    """How good one sampler's drawings are at one number of steps."""

    sampler: str
    steps: int
    drawings: int
    top1: float | None = None  # both figures are None if the sampler refuses
    psnr_db: float | None = None
    reason: str | None = None  # of the refusal


@dataclass(frozen=True)
class Subject:
    """What cells are about; cells about different subjects are never mixed."""

    sha256: str  # of the model
    gallery: str
    guidance_scale: float
    seed: int


def subject_of(bundle: Bundle, gallery: Gallery, settings: QualitySettings) -> Subject:
    """Return what a measurement of this bundle is about."""
    prints = hashlib.sha256(gallery.thumbnails.tobytes() + gallery.images.tobytes())
    prints.update(json.dumps([asdict(example) for example in gallery.examples]).encode())
    prints.update(json.dumps(gallery.trained).encode())
    return Subject(
        bundle.info.sha256, prints.hexdigest()[:16], settings.guidance_scale, settings.seed
    )


def draw_cell(
    bundle: Bundle,
    gallery: Gallery,
    settings: QualitySettings,
    sampler: str,
    steps: int,
    progress: Callable[[int], None],
) -> Cell:
    """Draw and measure one cell; ``progress`` is called with the UNet rows of each drawing."""
    count = settings.drawings_of(steps)
    try:
        compile_table(sampler, bundle.noise_schedule, steps=steps)
    except (SamplerError, ScheduleError) as error:
        return Cell(sampler, steps, count, reason=str(error))
    places = spread(gallery, count)
    wanted = np.array([gallery.trained[place] for place in places])
    prompts = gallery.prompts(settings.prompts)
    texts = [prompts[place] for place in places]
    seeds = [settings.seed * 10_000 + place for place in places]
    how = SamplingSettings(sampler, steps=steps, guidance_scale=settings.guidance_scale, batch=16)
    drawn = []
    for image in draw(bundle, texts, seeds, how):
        drawn.append(image)
        progress(settings.rows(sampler, steps))
    images = np.stack(drawn)
    top1 = float((ranks(images, gallery.thumbnails, wanted) == 0).mean())
    return Cell(sampler, steps, count, top1, float(psnr_db(images, gallery.images[places]).mean()))


def spread(gallery: Gallery, count: int) -> list[int]:
    """Return ``count`` indices spread evenly over the trained examples.

    If one count divides another, its indices are among the other's.

    Raises:
        ExportError: there are fewer trained examples.
    """
    trained = len(gallery.trained)
    if not 1 <= count <= trained:
        raise ExportError(f"{count} drawings, one per example: the gallery has {trained} trained")
    return [i * trained // count for i in range(count)]


def read_cells(path: Path, subject: Subject) -> list[Cell]:
    """Return the cells in a file; none if it does not exist or is about another subject.

    Raises:
        ExportError: the file is broken.
    """
    if not path.exists():
        return []
    try:
        value = json.loads(path.read_text("utf-8"))
        about, cells = Subject(**value["subject"]), [Cell(**cell) for cell in value["cells"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{path} holds no usable figures ({error!r}): remove it") from error
    return cells if about == subject else []


def write_cells(path: Path, subject: Subject, cells: list[Cell]) -> None:
    """Write the cells atomically."""
    value = {"subject": asdict(subject), "cells": [asdict(cell) for cell in cells]}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    os.replace(part, path)
