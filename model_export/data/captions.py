"""The prompts an image is trained under: labels, tags, sentences, colours, or nothing."""

from dataclasses import dataclass
from itertools import accumulate
from random import Random

from model_export.data.data import ANIMALS, FOOD, CaptionedImage
from model_export.data.labels import Emoji
from model_export.data.sentences import LIVELY, TASTY, article, sentence
from model_export.data.sentences_zh import sentence_zh
from model_export.data.subjects import COLOURS_ZH, Subject

TEMPLATES = ("a {}", "an emoji of {}", "a picture of {}", "{} emoji")
FIRST_NAME = 0.5  # the share of sentences with the usual name, not another word for it

Mix = tuple[float, float, float, float, float, float, float, float]
KINDS = (
    "English labels", "templates", "English tags", "Chinese labels", "Chinese tags",
    "English sentences", "Chinese sentences", "colours",
)  # fmt: skip
MIX: Mix = (0.21, 0.02, 0.12, 0.18, 0.05, 0.14, 0.14, 0.14)  # the kinds' shares


@dataclass(frozen=True)
class Caption:
    """A prompt, and the colour that the image is turned to for it, if it is."""

    text: str
    colour: str | None = None


def draw_caption(subject: Subject, drop: float, random: Random, mix: Mix = MIX) -> Caption:
    """Return a prompt for an example, empty with probability ``drop``.

    For an emoji it is drawn from the mix, otherwise any of the captions, all equally likely. An
    emoji without colours is asked for by a label instead. The empty prompt is what classifier-free
    guidance steers away from (Ho and Salimans 2022).
    """
    if random.random() < drop:
        return Caption("")
    example = subject.example
    if isinstance(example, CaptionedImage):
        return Caption(random.choice(example.captions))
    kind = _kind(mix, random)
    if kind == "colours":
        if subject.trained:
            colour = random.choice(list(subject.trained))
            return Caption(coloured_text(subject, colour, random), colour)
        kind = random.choice(("English labels", "Chinese labels"))
    return Caption(_text(kind, subject, example, random))


def _kind(mix: Mix, random: Random) -> str:
    share = random.random()
    shares = zip(KINDS, accumulate(mix), strict=True)
    return next((kind for kind, end in shares if share < end), KINDS[0])


def _text(kind: str, subject: Subject, emoji: Emoji, random: Random) -> str:
    if kind == "templates":
        return random.choice(TEMPLATES).format(emoji.labels["en"])
    if kind == "English tags":
        return _tags(emoji, "en", 4, 0.5, random)
    if kind == "Chinese labels":
        return emoji.labels["zh"]
    if kind == "Chinese tags":
        return _tags(emoji, "zh", 3, 0.7, random)
    if kind == "English sentences":
        return sentence(_name(subject, "en", random), _suiting(emoji), random)
    if kind == "Chinese sentences":
        return sentence_zh(_name(subject, "zh", random), emoji.group, random)
    return emoji.labels["en"]


def coloured_text(subject: Subject, colour: str, random: Random) -> str:
    """Return a prompt for a thing in a colour: English in 6 of 10, a sentence in half of them."""
    plain, emoji = random.random() < 0.5, subject.emoji
    if random.random() < 0.6:
        if plain:
            start = random.choice((f"{article(colour)} ", f"{article(colour)} ", ""))
            return f"{start}{colour} {subject.names['en'][0]}"
        return sentence(_name(subject, "en", random), _suiting(emoji), random, colour)
    if plain:
        end = random.choice(("色的", "色的", "色", ""))
        return f"{COLOURS_ZH[colour]}{end}{subject.names['zh'][0]}"
    return sentence_zh(_name(subject, "zh", random), emoji.group, random, colour)


def _name(subject: Subject, language: str, random: Random) -> str:
    first, *others = subject.names[language]
    if not others or random.random() < FIRST_NAME:
        return first
    # Everyday words come before tags: the earlier of two draws favours them.
    return others[min(random.randrange(len(others)), random.randrange(len(others)))]


def _suiting(emoji: Emoji) -> tuple[str, ...]:
    return {ANIMALS: LIVELY, FOOD: TASTY}.get(emoji.group, ())


def _tags(emoji: Emoji, language: str, most: int, labelled: float, random: Random) -> str:
    label = emoji.labels[language]
    tags = list(emoji.tags[language]) or [label]
    words = random.sample(tags, random.randint(1, min(most, len(tags))))
    # A tag such as "face" applies to a hundred images; sometimes the label says which is meant.
    if random.random() < labelled:
        words.insert(random.randint(0, len(words)), label)
    return " ".join(words)
