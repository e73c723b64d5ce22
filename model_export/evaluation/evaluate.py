"""Measures a bundle, drawn with as the service would, against the fixed gallery."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffusion.bundle.bundle import Bundle
from diffusion.codec import to_pixels
from diffusion.files import digest
from diffusion.parts.open import load_codec
from model_export.bundle import EVALUATION
from model_export.errors import ExportError, GalleryError
from model_export.evaluation.gallery import Gallery
from model_export.evaluation.measures import (
    Images,
    diversity,
    high_frequency,
    psnr_db,
    ranks,
    speckle,
)
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.training.codec import to_tensor

SEEDS = 4  # by default


@dataclass(frozen=True)
class Measures:
    """How good drawings of known images are."""

    top1: float  # share whose nearest in the gallery is the one asked for
    top5: float
    psnr_db: float
    high_frequency: float  # relative to the codec's images
    speckle: float  # distance from white where it should be white, in levels of 255
    diversity: float | None = None  # of a prompt's drawings; None: of one seed, or an older record


@dataclass(frozen=True)
class Run:
    """One row of an evaluation: what was drawn, how, and how good it is."""

    prompts: str
    sampler: str
    schedule: str | None
    steps: int
    guidance_scale: float
    seeds: int
    emoji: int
    measures: Measures


def prompts_of(gallery: Gallery, asked: Sequence[str] = ()) -> list[str]:
    """Return ``asked``, or all kinds of prompts that the gallery has.

    Raises:
        GalleryError: it has no such prompts.
    """
    kinds = list(gallery.examples[0].prompts())
    for kind in asked:
        if kind not in kinds:
            known = ", ".join(kinds)
            raise GalleryError(f"the gallery has no prompts {kind!r}; available: {known}")
    return list(asked) or kinds


def evaluate(
    bundle: Bundle,
    folder: Path,
    gallery: Gallery,
    prompts: str,
    settings: SamplingSettings,
    *,
    seeds: int,
    progress: Callable[[], None],
) -> Run:
    """Draw and measure every trained example with ``seeds`` seeds, calling ``progress`` on each."""
    count = len(gallery.trained)
    numbers = [seed * 10_000 + i for seed in range(seeds) for i in range(count)]
    drawn = []
    for image in draw(bundle, gallery.prompts(prompts) * seeds, numbers, settings):
        drawn.append(image)
        progress()
    return Run(
        prompts=prompts,
        sampler=settings.sampler,
        schedule=settings.schedule,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        seeds=seeds,
        emoji=count,
        measures=measure(np.stack(drawn), codec_images(folder, gallery), gallery, seeds),
    )


def measure(drawn: Images, coded: Images, gallery: Gallery, seeds: int = 1) -> Measures:
    """Return the measures of drawings (seeds·M, …), all of one seed before the next seed's."""
    reference = np.tile(gallery.images, (seeds, 1, 1, 1))
    place = ranks(drawn, gallery.thumbnails, np.tile(np.array(gallery.trained), seeds))
    return Measures(
        top1=float((place < 1).mean()),
        top5=float((place < 5).mean()),
        psnr_db=float(psnr_db(drawn, reference).mean()),
        high_frequency=high_frequency(drawn) / high_frequency(coded),
        speckle=speckle(drawn, reference),
        diversity=diversity(drawn, seeds) if seeds > 1 else None,
    )


def codec_images(folder: Path, gallery: Gallery) -> Images:
    """Return the trained images as the bundle's codec reconstructs them: the best possible."""
    codec = load_codec(folder / "vae")
    return to_pixels(codec.decode(codec.encode(to_tensor(gallery.images))))


def bounds(folder: Path, gallery: Gallery) -> dict[str, Measures]:
    """Return the measures of the codec alone, and of images of other examples."""
    coded = codec_images(folder, gallery)
    others = np.roll(gallery.images, len(gallery.images) // 2, axis=0)
    return {"codec": measure(coded, coded, gallery), "others": measure(others, coded, gallery)}


def record(folder: Path, runs: Sequence[Run], limits: dict[str, Measures]) -> Path:
    """Add runs to the bundle's ``evaluation.json``, dropping those of other weights."""
    path = folder / EVALUATION
    sha256 = digest(folder)
    before = _before(path, sha256)
    new = {_key(asdict(run)) for run in runs}
    kept = [run for run in before.get("runs", []) if _key(run) not in new]
    value = before | {
        "sha256": sha256,
        "bounds": {name: asdict(limit) for name, limit in limits.items()},
        "runs": [*kept, *map(asdict, runs)],
    }
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    return path


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Return what :func:`record` wrote about these weights.

    Raises:
        ExportError: there is nothing, or it is about other weights.
    """
    path = folder / EVALUATION
    if not path.exists():
        raise ExportError(f"{path} is missing: evaluate the bundle first")
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if value["sha256"] != digest(folder):
        raise ExportError(f"{path} is about other weights: evaluate the bundle again")
    return value


def _before(path: Path, sha256: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return value if value["sha256"] == sha256 else {}


def _key(run: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in run.items() if k != "measures"}, sort_keys=True)
