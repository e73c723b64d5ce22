"""Prompts that no model of ours was trained on, and how good drawings of them are.

*Reworded* prompts name the emoji in a sentence, *described* ones describe it without its name, and
*coloured* ones ask for a thing in a colour that it never had in training.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffusion.bundle.bundle import Bundle
from model_export.bundle import EVALUATION
from model_export.data.hues import HUES, INK, dominant_colour
from model_export.data.labels import Emoji
from model_export.errors import ExportError
from model_export.evaluation.evaluate import read_evaluation
from model_export.evaluation.gallery import Gallery
from model_export.evaluation.measures import Images, ranks, thumbnails
from model_export.evaluation.sampling import SamplingSettings, draw

PROMPTS = Path(__file__).parent / "held_out.json"
COLOURED = "coloured"
SECTION = "held_out"  # of evaluation.json


@dataclass(frozen=True)
class HeldOut:
    """Prompts of one kind, and the emoji that each asks for."""

    kind: str
    prompts: tuple[str, ...]
    places: tuple[int, ...]  # of their emoji among the trained ones
    untrained: int  # prompts left out because their emoji is not trained on
    colours: tuple[str, ...] = ()  # asked for, if the kind asks for any


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
    """Return the held-out prompts for emoji that were trained on.

    Raises:
        ExportError: there are none of a kind.
    """
    place = {emoji.labels["en"]: i for i, emoji in enumerate(trained_emoji(gallery))}
    kinds: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    result = []
    for kind, prompts in kinds.items():
        kept = {prompt: place[label] for prompt, label in prompts.items() if label in place}
        if not kept:
            raise ExportError(
                f"no {kind} prompt of {path.name} is for an emoji that was trained on"
            )
        left = len(prompts) - len(kept)
        colours = tuple(map(colour_asked, kept)) if kind == COLOURED else ()
        result.append(HeldOut(kind, tuple(kept), tuple(kept.values()), left, colours))
    return tuple(result)


def trained_emoji(gallery: Gallery) -> list[Emoji]:
    """Return the emoji that were trained on; a custom data set has none."""
    trained = (gallery.examples[i] for i in gallery.trained)
    return [example for example in trained if isinstance(example, Emoji)]


def measure_held_out(
    bundle: Bundle,
    gallery: Gallery,
    held: HeldOut,
    settings: SamplingSettings,
    *,
    seeds: int,
    progress: Callable[[], None],
) -> HeldOutRun:
    """Draw and measure every prompt with ``seeds`` seeds, calling ``progress`` on each."""
    drawn = np.stack(list(_drawings(bundle, held.prompts, settings, seeds, progress)))
    places = np.tile(np.array(held.places), seeds)
    if held.colours:
        labels = [trained_emoji(gallery)[i].labels["en"] for i in held.places]
        plain = np.stack(list(_drawings(bundle, labels, settings, seeds, progress)))
        measures = coloured(drawn, plain, held.colours * seeds, gallery, places)
    else:
        rank = ranks(drawn, gallery.thumbnails, np.array(gallery.trained)[places])
        measures = {"top1": float((rank < 1).mean()), "top5": float((rank < 5).mean())}
    return HeldOutRun(
        held.kind, held.prompts[0], len(held.prompts), held.untrained,
        settings.sampler, settings.steps, settings.guidance_scale, seeds, measures,
    )  # fmt: skip


def drawings_of(held: HeldOut) -> int:
    """Return the number of drawings per seed; coloured things are also drawn by their labels."""
    return len(held.prompts) * (2 if held.colours else 1)


def _drawings(
    bundle: Bundle,
    prompts: Sequence[str],
    settings: SamplingSettings,
    seeds: int,
    progress: Callable[[], None],
) -> Iterator[NDArray[np.uint8]]:
    numbers = [seed * 10_000 + i for seed in range(seeds) for i in range(len(prompts))]
    for image in draw(bundle, [*prompts] * seeds, numbers, settings):
        progress()
        yield image


def colour_asked(prompt: str) -> str:
    """Return the one colour word in a coloured prompt.

    Raises:
        ExportError: there is none, or more than one.
    """
    words = [word for word in prompt.split() if word in HUES]
    if len(words) != 1:
        raise ExportError(f"prompt {prompt!r} should ask for one of: {', '.join(HUES)}")
    return words[0]


def coloured(
    drawn: Images,
    plain: Images,
    colours: Sequence[str],
    gallery: Gallery,
    places: NDArray[np.int64],
) -> dict[str, float]:
    """Return the shares of drawings with the colour asked for, with the thing's shape, with both.

    A shape is right if the thing's silhouette is among the five nearest, at 16×16 pixels, of all
    that were trained on: many fruits share one. ``plain`` are the same things drawn by their
    labels, for comparison.
    """
    shapes = thumbnails(silhouettes(gallery.images))
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


def silhouettes(images: Images) -> Images:
    """Return each image's shape: black where there is ink, white elsewhere."""
    ink = images.min(-1, keepdims=True) < INK
    return np.where(ink, np.uint8(0), np.uint8(255)).repeat(3, -1)


def record_held_out(folder: Path, runs: Sequence[HeldOutRun]) -> Path:
    """Put runs into the bundle's ``evaluation.json``, replacing earlier ones.

    Raises:
        ExportError: these weights have not been evaluated.
    """
    value = read_evaluation(folder) | {SECTION: [asdict(run) for run in runs]}
    path = folder / EVALUATION
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path
