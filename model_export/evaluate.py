"""Measuring a bundle as the service would draw with it, against the fixed gallery."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diffusion.bundle import Bundle
from diffusion.bundle_files import digest
from model_export.bundle import EVALUATION
from model_export.codec import load_codec, to_pixels, to_tensor
from model_export.errors import ExportError, GalleryError
from model_export.gallery import Gallery
from model_export.labels import CAPTION, Emoji
from model_export.measures import Pictures, diversity, high_frequency, psnr_db, ranks, speckle
from model_export.sampling import SamplingSettings, draw

Prompts = Literal["en", "zh", "tags", "caption"]
PROMPTS: tuple[Prompts, ...] = ("en", "zh", "tags", "caption")
SEEDS = 4
"""Drawings of each picture, unless said."""


@dataclass(frozen=True)
class Measures:
    """What drawings of known emoji are worth."""

    top1: float  # share whose nearest in the gallery is the one asked for
    top5: float
    psnr_db: float
    high_frequency: float  # as a multiple of what the codec's own pictures have
    speckle: float  # distance from white where white is due, in levels of 255
    diversity: float | None = None  # of a prompt's drawings; None: of one seed, or an older record


@dataclass(frozen=True)
class Run:
    """One row of an evaluation: what was drawn, how, and what it was worth."""

    prompts: str
    sampler: str
    schedule: str | None
    steps: int
    guidance_scale: float
    seeds: int
    emoji: int
    measures: Measures


def prompts_of(gallery: Gallery, asked: Sequence[str] = ()) -> tuple[Prompts, ...]:
    """Return ``asked``, or everything that the gallery can be asked for by.

    Raises:
        GalleryError: it has no such prompts.
    """
    there = tuple(prompts for prompts in PROMPTS if (prompts == CAPTION) == gallery.own)
    for prompts in asked:
        if prompts not in there:
            known = ", ".join(there)
            raise GalleryError(f"the gallery has no prompts {prompts!r}; there are: {known}")
    return tuple(there[there.index(prompts)] for prompts in asked) or there


def prompt_for(emoji: Emoji, prompts: Prompts) -> str:
    """Return the prompt that asks for an emoji: its label, or its first three English tags.

    An own picture is asked for by its first caption.
    """
    if prompts == "tags":
        return " ".join(emoji.tags["en"][:3]) or emoji.labels["en"]
    return emoji.labels[prompts]


def evaluate(
    bundle: Bundle,
    folder: Path,
    gallery: Gallery,
    prompts: Prompts,
    settings: SamplingSettings,
    *,
    seeds: int,
    progress: Callable[[], None],
) -> Run:
    """Draw every trained emoji under ``seeds`` seeds and measure it; ``progress`` hears of each."""
    count = len(gallery.trained)
    texts = [prompt_for(gallery.emoji[i], prompts) for i in gallery.trained]
    numbers = [seed * 10_000 + i for seed in range(seeds) for i in range(count)]
    drawn = []
    for picture in draw(bundle, texts * seeds, numbers, settings):
        drawn.append(picture)
        progress()
    return Run(
        prompts=prompts,
        sampler=settings.sampler,
        schedule=settings.schedule,
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        seeds=seeds,
        emoji=count,
        measures=measure(np.stack(drawn), codec_pictures(folder, gallery), gallery, seeds),
    )


def measure(drawn: Pictures, coded: Pictures, gallery: Gallery, seeds: int = 1) -> Measures:
    """Return the measures of drawings (seeds·M, …), all emoji of a seed before the next seed's."""
    reference = np.tile(gallery.pictures, (seeds, 1, 1, 1))
    place = ranks(drawn, gallery.thumbnails, np.tile(np.array(gallery.trained), seeds))
    return Measures(
        top1=float((place < 1).mean()),
        top5=float((place < 5).mean()),
        psnr_db=float(psnr_db(drawn, reference).mean()),
        high_frequency=high_frequency(drawn) / high_frequency(coded),
        speckle=speckle(drawn, reference),
        diversity=diversity(drawn, seeds) if seeds > 1 else None,
    )


def codec_pictures(folder: Path, gallery: Gallery) -> Pictures:
    """Return the trained pictures as the bundle's codec gives them back: the best one can draw."""
    codec = load_codec(folder / "vae")
    return to_pixels(codec.decode(codec.encode(to_tensor(gallery.pictures))))


def bounds(folder: Path, gallery: Gallery) -> dict[str, Measures]:
    """Return what the codec alone reaches, and what pictures of other emoji do."""
    coded = codec_pictures(folder, gallery)
    others = np.roll(gallery.pictures, len(gallery.pictures) // 2, axis=0)
    return {"codec": measure(coded, coded, gallery), "others": measure(others, coded, gallery)}


def record(folder: Path, runs: Sequence[Run], limits: dict[str, Measures]) -> Path:
    """Add runs to the bundle's ``evaluation.json``; those of other weights are dropped."""
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
        ExportError: nothing, or it is about other weights.
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
