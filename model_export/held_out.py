"""Prompts that no model of ours was trained on, and what drawings of them are worth.

*Reworded* prompts keep the emoji's name in a sentence of their own, *described* ones do without it,
and *coloured* ones ask for a thing in a colour that it never had.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.bundle import Bundle
from model_export.bundle import EVALUATION
from model_export.colours import HUES, dominant_colour, silhouettes
from model_export.errors import ExportError
from model_export.evaluate import read_evaluation
from model_export.gallery import Gallery
from model_export.measures import Pictures, ranks, thumbnails
from model_export.sampling import SamplingSettings, draw

PROMPTS = Path(__file__).parent / "held_out.json"
COLOURED = "coloured"
SECTION = "held_out"  # of evaluation.json


@dataclass(frozen=True)
class HeldOut:
    """Prompts of one kind, and the emoji that each asks for."""

    kind: str
    prompts: tuple[str, ...]
    places: tuple[int, ...]  # of their emoji among those trained on
    untrained: int  # prompts left out, for their emoji is not trained on


@dataclass(frozen=True)
class HeldOutRun:
    """One row of a held-out evaluation."""

    kind: str
    example: str
    prompts: int
    untrained: int
    sampler: str
    steps: int
    guidance_scale: float
    seeds: int
    measures: dict[str, float]


def read_held_out(gallery: Gallery, path: Path = PROMPTS) -> tuple[HeldOut, ...]:
    """Return the held-out prompts about emoji that the gallery knows as trained on.

    Raises:
        ExportError: there is none of a kind.
    """
    trained = [gallery.emoji[i].labels.get("en") for i in gallery.trained]
    place = {label: i for i, label in enumerate(trained)}
    kinds: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    result = []
    for kind, prompts in kinds.items():
        kept = {prompt: place[label] for prompt, label in prompts.items() if label in place}
        if not kept:
            raise ExportError(f"no {kind} prompt of {path.name} is about what the model was taught")
        left = len(prompts) - len(kept)
        result.append(HeldOut(kind, tuple(kept), tuple(kept.values()), left))
    return tuple(result)


def measure_held_out(
    bundle: Bundle,
    gallery: Gallery,
    held: HeldOut,
    settings: SamplingSettings,
    *,
    seeds: int,
    progress: Callable[[], None],
) -> HeldOutRun:
    """Draw every prompt under ``seeds`` seeds and measure it; ``progress`` hears of each."""
    drawn = np.stack(list(_drawings(bundle, held.prompts, settings, seeds, progress)))
    places = np.tile(np.array(held.places), seeds)
    if held.kind == COLOURED:
        labels = [gallery.emoji[gallery.trained[i]].labels["en"] for i in held.places]
        plain = np.stack(list(_drawings(bundle, labels, settings, seeds, progress)))
        asked = [colour_asked(prompt) for prompt in held.prompts] * seeds
        measures = coloured(drawn, plain, asked, gallery, places)
    else:
        rank = ranks(drawn, gallery.thumbnails, np.array(gallery.trained)[places])
        measures = {"top1": float((rank < 1).mean()), "top5": float((rank < 5).mean())}
    return HeldOutRun(
        held.kind, held.prompts[0], len(held.prompts), held.untrained,
        settings.sampler, settings.steps, settings.guidance_scale, seeds, measures,
    )  # fmt: skip


def drawings_of(held: HeldOut) -> int:
    """Return how many drawings a seed takes; coloured things are drawn plain as well."""
    return len(held.prompts) * (2 if held.kind == COLOURED else 1)


def _drawings(
    bundle: Bundle,
    prompts: Sequence[str],
    settings: SamplingSettings,
    seeds: int,
    progress: Callable[[], None],
) -> Iterator[NDArray[np.uint8]]:
    numbers = [seed * 10_000 + i for seed in range(seeds) for i in range(len(prompts))]
    for picture in draw(bundle, [*prompts] * seeds, numbers, settings):
        progress()
        yield picture


def colour_asked(prompt: str) -> str:
    """Return the colour word in a coloured prompt.

    Raises:
        ExportError: there is none, or there are several.
    """
    words = [word for word in prompt.split() if word in HUES]
    if len(words) != 1:
        raise ExportError(f"prompt {prompt!r} should ask for one of: {', '.join(HUES)}")
    return words[0]


def coloured(
    drawn: Pictures,
    plain: Pictures,
    colours: Sequence[str],
    gallery: Gallery,
    places: NDArray[np.int64],
) -> dict[str, float]:
    """Return how many drawings have the colour asked for, the thing's shape, and both.

    A shape is right when the thing's own silhouette is among the five nearest, at 16×16, of all
    that were trained on: many fruits share one. ``plain`` are the same things asked for by their
    labels, for comparison.
    """
    shapes = thumbnails(silhouettes(gallery.pictures))
    right, usual = (ranks(silhouettes(p), shapes, places) < 5 for p in (drawn, plain))
    colour = np.array([dominant_colour(p) for p in drawn]) == np.array(colours)
    unasked = np.array([dominant_colour(p) for p in plain]) == np.array(colours)
    return {
        "colour": float(colour.mean()),
        "shape": float(right.mean()),
        "both": float((colour & right).mean()),
        "plain_colour": float(unasked.mean()),
        "plain_shape": float(usual.mean()),
    }


def record_held_out(folder: Path, runs: Sequence[HeldOutRun]) -> Path:
    """Put runs into the bundle's ``evaluation.json``, in place of those of an earlier time.

    Raises:
        ExportError: these weights have not been evaluated.
    """
    value = read_evaluation(folder) | {SECTION: [asdict(run) for run in runs]}
    path = folder / EVALUATION
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path
