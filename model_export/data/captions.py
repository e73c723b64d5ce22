"""The prompts an image is trained under: labels, templates, tags, two languages, or nothing."""

from itertools import accumulate
from random import Random

from model_export.data.data import CaptionedImage, Example
from model_export.data.labels import Emoji

TEMPLATES = ("a {}", "an emoji of {}", "a picture of {}", "{} emoji")

Mix = tuple[float, float, float, float, float]
KINDS = ("English labels", "templates", "English tags", "Chinese labels", "Chinese tags")
MIX: Mix = (0.35, 0.10, 0.15, 0.28, 0.12)  # the kinds' shares


def draw_caption(example: Example, drop: float, random: Random, mix: Mix = MIX) -> str:
    """Return a prompt for an example, empty with probability ``drop``.

    For an emoji it is drawn from the mix, otherwise any of the captions, all equally likely. The
    empty prompt is what classifier-free guidance steers away from (Ho and Salimans 2022).
    """
    if random.random() < drop:
        return ""
    if isinstance(example, CaptionedImage):
        return random.choice(example.captions)
    share = random.random()
    label, template, tags, chinese, _ = accumulate(mix)
    if share < label:
        return example.labels["en"]
    if share < template:
        return random.choice(TEMPLATES).format(example.labels["en"])
    if share < tags:
        return _tags(example, "en", 4, 0.5, random)
    if share < chinese:
        return example.labels["zh"]
    return _tags(example, "zh", 3, 0.7, random)


def _tags(emoji: Emoji, language: str, most: int, labelled: float, random: Random) -> str:
    label = emoji.labels[language]
    tags = list(emoji.tags[language]) or [label]
    words = random.sample(tags, random.randint(1, min(most, len(tags))))
    # A tag such as "face" applies to a hundred images; sometimes the label says which is meant.
    if random.random() < labelled:
        words.insert(random.randint(0, len(words)), label)
    return " ".join(words)
