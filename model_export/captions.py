"""The prompts a picture is trained under: labels, templates, tags, two languages, or nothing."""

from itertools import accumulate
from random import Random

from model_export.labels import CAPTION, Emoji

TEMPLATES = ("a {}", "an emoji of {}", "a picture of {}", "{} emoji")

Mix = tuple[float, float, float, float, float]
KINDS = ("English labels", "templates", "English tags", "Chinese labels", "Chinese tags")
MIX: Mix = (0.35, 0.10, 0.15, 0.28, 0.12)
"""The kinds' shares."""


def draw_caption(emoji: Emoji, drop: float, random: Random, mix: Mix = MIX) -> str:
    """Return a prompt for an emoji, drawn from the mix; empty with probability ``drop``.

    Of somebody's own picture it is any of its captions, each as often. The empty prompt is what
    classifier-free guidance steers away from (Ho and Salimans 2022).
    """
    if random.random() < drop:
        return ""
    if emoji.own:
        return random.choice((emoji.labels[CAPTION], *emoji.tags[CAPTION]))
    share = random.random()
    label, template, tags, chinese, _ = accumulate(mix)
    if share < label:
        return emoji.labels["en"]
    if share < template:
        return random.choice(TEMPLATES).format(emoji.labels["en"])
    if share < tags:
        return _tags(emoji, "en", 4, 0.5, random)
    if share < chinese:
        return emoji.labels["zh"]
    return _tags(emoji, "zh", 3, 0.7, random)


def _tags(emoji: Emoji, language: str, most: int, labelled: float, random: Random) -> str:
    label = emoji.labels[language]
    tags = list(emoji.tags[language]) or [label]
    words = random.sample(tags, random.randint(1, min(most, len(tags))))
    # A tag such as "face" names a hundred pictures; the label now and then says which is meant.
    if random.random() < labelled:
        words.insert(random.randint(0, len(words)), label)
    return " ".join(words)
