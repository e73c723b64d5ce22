"""What a sentence can be about: an emoji's names, its colours, and which colours are withheld."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from model_export.data.data import ANIMALS, FOOD, SMILEYS, TRAVEL, Dataset, Example
from model_export.data.hues import HUES, Picture, turned
from model_export.data.labels import LANGUAGES, Emoji

COLOURS_ZH = {
    "red": "红", "orange": "橙", "yellow": "黄", "green": "绿", "blue": "蓝", "purple": "紫",
    "pink": "粉",
}  # fmt: skip
# Everyday words that no tag gives to one emoji alone.
NAMES = {
    "automobile": ("car",), "baby chick": ("chick",), "beer mug": ("beer",), "bicycle": ("bike",),
    "birthday cake": ("cake",), "blossom": ("flower",), "cat face": ("kitten",),
    "crescent moon": ("moon",), "deciduous tree": ("tree",), "dog face": ("puppy",),
    "doughnut": ("donut",), "ear of corn": ("corn",), "french fries": ("fries",),
    "game die": ("dice",), "glass of milk": ("milk",), "hamburger": ("burger",),
    "honeybee": ("bee",), "hot beverage": ("coffee",), "rabbit face": ("bunny",),
    "snowman without snow": ("snowman",), "soccer ball": ("football",), "trophy": ("cup",),
    "umbrella with rain drops": ("umbrella",), "wine glass": ("wine",),
    "wrapped gift": ("present",),
}  # fmt: skip
NAMES_ZH = {
    "automobile": ("车", "小汽车"), "birthday cake": ("蛋糕",), "blossom": ("花",),
    "cat": ("小猫",), "crab": ("螃蟹",), "crescent moon": ("月亮",), "deciduous tree": ("树",),
    "dog": ("小狗",), "hot beverage": ("咖啡",), "lion": ("雄狮",), "turtle": ("乌龟",),
    "bird": ("小鸟",), "umbrella with rain drops": ("伞",), "wrapped gift": ("礼品",),
    "peach": ("桃子",), "pear": ("梨子",), "egg": ("鸡蛋",), "rabbit": ("小兔子",),
}  # fmt: skip
# Pairs kept out of training whatever their hash: prompts were written for them by hand.
WITHHELD = {
    "red apple": ("blue", "purple", "pink"),
    "banana": ("blue", "red", "purple", "green"),
    "strawberry": ("blue", "purple", "green"),
    "lemon": ("blue", "red", "purple"),
    "tomato": ("blue", "purple"),
    "pear": ("blue", "red"),
    "carrot": ("blue", "purple"),
    "eggplant": ("red", "yellow"),
    "broccoli": ("purple", "blue", "red"),
    "frog": ("blue", "red", "purple"),
    "cactus": ("pink", "blue"),
    "turtle": ("blue", "red"),
    "crocodile": ("blue", "pink"),
    "crab": ("blue", "green", "purple"),
    "octopus": ("blue", "green", "purple"),
    "lobster": ("blue", "green"),
    "whale": ("red", "green"),
    "dolphin": ("pink", "green"),
    "snail": ("blue", "pink"),
    "fox": ("blue", "green"),
    "baby chick": ("blue", "pink"),
    "rose": ("blue", "green"),
    "tulip": ("blue",),
    "sunflower": ("blue",),
}
TAGGED_GROUPS = (ANIMALS, FOOD, TRAVEL)  # the tags of others are rarely names
SHORTEST_TAG = 4

Names = dict[str, tuple[str, ...]]  # by language, the most usual one first


@dataclass(frozen=True, eq=False)
class Subject:
    """An example, what people call it, and the colours that it comes in."""

    example: Example
    names: Names = field(default_factory=dict)
    trained: dict[str, Picture] = field(default_factory=dict)  # by colour
    withheld: dict[str, Picture] = field(default_factory=dict)  # by colour, never trained on

    @property
    def emoji(self) -> Emoji:
        """The example as an emoji, which all are that have names."""
        assert isinstance(self.example, Emoji)
        return self.example


def subjects(dataset: Dataset) -> tuple[Subject, ...]:
    """Return the subject of each example; a captioned image has no names and no colours."""
    emoji = [example for example in dataset.examples if isinstance(example, Emoji)]
    if not emoji:
        return tuple(map(Subject, dataset.examples))
    names = names_of(emoji)
    labels = {e.labels["en"] for e in emoji}
    parts = zip(emoji, names, dataset.images, strict=True)
    return tuple(_subject(one, called, image, labels) for one, called, image in parts)


def _subject(emoji: Emoji, names: Names, image: Picture, labels: set[str]) -> Subject:
    coloured = any(word in HUES for word in names["en"][0].split())
    colours = {} if coloured or emoji.group == SMILEYS else turned(image)
    # What is a thing of its own, as the green apple is, is no other thing turned green.
    own = {c: p for c, p in colours.items() if f"{c} {names['en'][0]}" not in labels}
    natural = {c for c, picture in own.items() if picture is image}
    kept = {c for c in own if is_withheld(c, emoji.labels["en"]) and c not in natural}
    return Subject(
        emoji,
        names,
        {c: p for c, p in own.items() if c not in kept},
        {c: p for c, p in own.items() if c in kept},
    )


def is_withheld(colour: str, label: str) -> bool:
    """Return whether a thing in this colour is kept for measuring: half of the pairs are."""
    if colour in WITHHELD.get(label, ()):
        return True
    return hashlib.sha256(f"{colour} {label}".encode()).digest()[0] < 128


def names_of(emoji: Sequence[Emoji]) -> list[Names]:
    """Return each emoji's names: its label without a colour, and words that mean it alone."""
    found: list[Names] = [{} for _ in emoji]
    for language in LANGUAGES:
        taken, given = _taken(emoji, language), {e.labels[language] for e in emoji}
        for e, names in zip(emoji, found, strict=True):
            label = e.labels[language]
            plain = without_colour(label, language) if e.group == FOOD else label
            first = label if plain in given else plain  # of a red and a green apple, the red one
            given.add(first)
            more = (NAMES if language == "en" else NAMES_ZH).get(e.labels["en"], ())
            tags = e.tags[language] if e.group in TAGGED_GROUPS else ()
            alone = (t for t in tags if taken[t] == 1 and _is_name(t, language))
            names[language] = tuple(dict.fromkeys((first, *more, *alone)))
    return found


def _taken(emoji: Sequence[Emoji], language: str) -> Counter[str]:
    """Return how many emoji each word could mean, by tag, or by a word of another's label."""
    tags = Counter(tag for e in emoji for tag in set(e.tags[language]))
    labels = Counter(
        word
        for e in emoji
        for word in {e.labels[language], *e.labels[language].lower().split()}
        if word not in e.tags[language]
    )
    return tags + labels


def _is_name(tag: str, language: str) -> bool:
    if language == "zh":
        return len(tag) > 1 and not tag.isascii() and "色" not in tag
    return tag.isascii() and tag.isalpha() and len(tag) >= SHORTEST_TAG and tag not in HUES


def without_colour(label: str, language: str) -> str:
    """Return a label without the colour word that it begins with."""
    if language == "en":
        first, _, rest = label.partition(" ")
        return rest if first in HUES and rest else label
    for word in COLOURS_ZH.values():
        for start in (f"{word}色的", f"{word}色", word):
            if label.startswith(start) and len(label) > len(start) + 1:
                return label.removeprefix(start)
    return label
