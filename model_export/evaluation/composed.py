"""Held-out prompts composed of what training left out: frames of sentences, colours of things.

*Framed* prompts put trained labels into frames that no training sentence has; *coloured pairs* name
a thing and a colour that it was withheld in (:func:`model_export.data.subjects.is_withheld`).
"""

from collections.abc import Iterator

from model_export.data.data import Dataset
from model_export.data.sentences import article
from model_export.data.sentences_zh import measure
from model_export.data.subjects import COLOURS_ZH, Subject, subjects
from model_export.evaluation.gallery import Gallery
from model_export.evaluation.held_out import HeldOut, trained_emoji

FRAMES = {
    "en": (
        "a quick doodle of {}", "surprise me with {}", "what does {} look like",
        "the best thing ever is {}", "put {} on a t-shirt",
    ),
    "zh": ("随手涂{}", "{}长什么样", "衣服上印着{}", "给孩子讲讲{}", "最想要的是{}"),
}  # fmt: skip
EVERY_LABEL, EVERY_PAIR = 5, 4  # which of them are measured


def composed(gallery: Gallery) -> tuple[HeldOut, ...]:
    """Return the framed prompts and the coloured pairs, both in both languages."""
    emoji = trained_emoji(gallery)
    things = subjects(Dataset(tuple(emoji), gallery.images[: len(emoji)]))
    return (
        *(_framed(things, language) for language in FRAMES),
        *(_pairs(things, language) for language in FRAMES),
    )


def _framed(things: tuple[Subject, ...], language: str) -> HeldOut:
    places = tuple(range(0, len(things), EVERY_LABEL))
    frames = FRAMES[language]
    prompts = tuple(
        frames[n % len(frames)].format(with_article(things[place], language))
        for n, place in enumerate(places)
    )
    return HeldOut(f"framed {language}", prompts, places, 0)


def _pairs(things: tuple[Subject, ...], language: str) -> HeldOut:
    pairs = list(withheld_pairs(things))[::EVERY_PAIR]
    prompts = tuple(coloured_prompt(things[place], colour, language) for place, colour in pairs)
    places, colours = tuple(p for p, _ in pairs), tuple(c for _, c in pairs)
    return HeldOut(f"coloured pairs {language}", prompts, places, 0, colours)


def withheld_pairs(things: tuple[Subject, ...]) -> Iterator[tuple[int, str]]:
    """Yield the places of things and the colours that they were not trained in."""
    for place, thing in enumerate(things):
        for colour in thing.withheld:
            yield place, colour


def with_article(thing: Subject, language: str) -> str:
    """Return a thing's usual name with an article or a measure word."""
    name, example = thing.names[language][0], thing.emoji
    if language == "zh":
        return f"一{measure(name, example.group)}{name}"
    return name if name.endswith("s") else f"{article(name)} {name}"


def coloured_prompt(thing: Subject, colour: str, language: str) -> str:
    """Return the plainest prompt for a thing in a colour."""
    name = thing.names[language][0]
    if language == "zh":
        return f"{COLOURS_ZH[colour]}色的{name}"
    return f"{article(colour)} {colour} {name}"
