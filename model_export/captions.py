"""The prompts a picture is trained under: labels, templates, tags, two languages, or nothing."""

from random import Random

from model_export.labels import CAPTION, Emoji

TEMPLATES = ("a {}", "an emoji of {}", "a picture of {}", "{} emoji")


def draw_caption(emoji: Emoji, drop: float, random: Random) -> str:
    """Return a prompt for an emoji, drawn from the mix; empty with probability ``drop``.

    35 % English label, 10 % label in a template, 15 % English tags, 28 % Chinese label, 12 %
    Chinese tags; of somebody's own picture any of its captions, each as often. The empty prompt is
    what classifier-free guidance steers away from (Ho and Salimans 2022).
    """
    if random.random() < drop:
        return ""
    if emoji.own:
        return random.choice((emoji.labels[CAPTION], *emoji.tags[CAPTION]))
    share = random.random()
    if share < 0.35:
        return emoji.labels["en"]
    if share < 0.45:
        return random.choice(TEMPLATES).format(emoji.labels["en"])
    if share < 0.60:
        return _tags(emoji, "en", 4, 0.5, random)
    if share < 0.88:
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
