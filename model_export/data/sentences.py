"""English sentences that ask for a picture: a frame around an article, adjectives and a noun."""

from collections.abc import Callable
from random import Random

# "{}" is the thing with its article and adjectives: "a cute little tiger", "an apple", "tigers".
FRAMES = (
    "draw {}", "draw me {}", "draw {} please", "please draw {}", "could you draw {}",
    "can you draw {}", "can you draw me {}", "would you draw {} for me", "paint {}",
    "paint me {}", "please paint {}", "could you paint {} for us", "show me {}",
    "please show me {}", "can you show me {}", "let me see {}", "i want {}", "i want to see {}",
    "i would like {}", "i'd like {} please", "i'd love to see {}", "i need {}", "give me {}",
    "please give me {}", "make {}", "make me {}", "make a picture of {}", "can you make {}",
    "could i have {}", "may i have {}", "get me {}", "create {}", "create an image of {}",
    "generate {}", "generate a picture of {}", "design {}", "sketch {}", "sketch {} for me",
    "illustrate {}", "imagine {}", "render {}", "a drawing of {}", "a painting of {}",
    "a photo with {} in it", "an image of {}", "the image of {}", "an illustration of {}",
    "a cartoon of {}", "a sketch of {}", "a small picture of {}", "a sticker of {}",
    "a sticker showing {}", "an icon of {}", "a logo of {}", "clipart of {}", "pixel art of {}",
    "a portrait of {}", "a picture with {}", "picture of {}", "drawing of {}", "image of {}",
    "emoji of {}", "an emoji showing {}", "an emoji with {}", "this is {}", "it is {}",
    "that looks like {}", "here is {}", "there is {}", "look at {}", "look, {}", "what about {}",
    "do you have {}", "do you know how to draw {}", "have you got {}", "show {}",
    "nothing but {}", "simply {}", "only {}", "{} now", "{} for me", "{} for my daughter",
    "{} for a birthday card", "{} on white", "{} on a plain background",
    "{} against a white background", "{} in the middle", "{} icon", "{} sticker", "{} drawing",
    "{} picture", "{} as an emoji", "{} in emoji style", "{} as a cartoon", "{} from the front",
    "{} in high quality", "{}, cartoon style", "{}, white background", "{}, plain",
    "{}, detailed", "{}!", "{}.", "{}?", "hello, {} please", "hi, can i get {}",
    "my son wants {}", "my sister likes {}", "everybody loves {}", "i love {}", "we saw {}",
    "i dreamed of {}",
)  # fmt: skip
# Talk around a thing, any opening with any ending, so that words of no consequence are many.
OPENINGS = (
    "today", "yesterday we met", "tomorrow", "in the kitchen", "in the garden", "on the table",
    "near the window", "behind the door", "my teacher drew", "a friend brought", "they sell",
    "everyone needs", "grandpa remembers", "suddenly", "once upon a time there was", "maybe",
    "if possible", "as always", "we are looking for", "nobody has seen", "do not forget",
    "i am thinking of", "it reminds me of", "they bought", "quick,", "ok, now", "first of all",
    "for the poster", "for the website", "with a pencil, draw", "using bright paint, make",
    "my favorite animal or thing:", "subject:", "topic:", "prompt:", "next,", "remember",
    "the story is about", "a poem about", "the song mentions", "not a person but",
)  # fmt: skip
ENDINGS = (
    "today", "right now", "every day", "in summer", "on monday", "at home", "in the park",
    "in the city", "near the river", "by the window", "with friends", "for everyone",
    "for the kids", "in pencil", "in bright paint", "very slowly", "as quickly as you can",
    "if you can", "without text", "without a frame", "looking left", "looking at you",
    "standing alone", "from above", "with thick lines", "as a gift", "as before", "is great",
    "makes me smile", "was here", "and that is all", "that nobody has seen", "i found",
    "we talked about", "thanks", "thank you", "ok?", "etc",
)  # fmt: skip
# They say nothing that a picture of 64×64 pixels could show.
ADJECTIVES = (
    "cute", "little", "small", "tiny", "big", "large", "huge", "beautiful", "pretty", "lovely",
    "nice", "sweet", "funny", "happy", "friendly", "young", "new", "simple", "shiny", "great",
    "fine", "good", "perfect", "fantastic", "wonderful", "amazing", "cool", "colourful",
    "adorable", "charming", "giant", "single", "real", "very big", "very small", "really cute",
    "super cute", "cartoon", "classic",
)  # fmt: skip
LIVELY = (
    "sleepy", "wild", "tired", "clever", "brave", "shy", "curious", "fluffy", "old and wise",
)  # fmt: skip
TASTY = (
    "tasty", "delicious", "fresh", "ripe", "yummy", "juicy", "organic", "home-made",
)  # fmt: skip
OWNERS = (
    "my", "your", "our", "his", "her", "my brother's", "my mother's", "the neighbour's", "this",
)  # fmt: skip
MANY = (
    "some", "two", "three", "many", "a few", "lots of", "several", "these", "",
)  # fmt: skip
UNCOUNTED = (
    " of ", " with ", " without ", " in ", " on ", "o’clock",
)  # fmt: skip
IRREGULAR = {
    "mouse": "mice", "leaf": "leaves", "fish": "fish", "wolf": "wolves",
}  # fmt: skip
# Shares: no article, a plural, a frame, an opening or an ending.
BARE, PLURAL, FRAMED, TALK = 0.25, 0.2, 0.5, 0.32
# Shares of openings and endings, and of adjectives, that are words nobody has seen.
UNKNOWN, STRANGE = 0.5, 0.2
SYLLABLE = ("bcdfghjklmnprstvwz", "aeiou", ("", "", "", "l", "n", "r", "s", "t"))


def sentence(
    noun: str, adjectives: tuple[str, ...], random: Random, colour: str | None = None
) -> str:
    """Return a sentence that asks for a thing, in a colour if one is given.

    ``adjectives`` are those that suit it besides the usual ones.
    """
    thing = _thing(noun, ADJECTIVES + adjectives * 2, random, colour)
    share = random.random()
    if share < FRAMED:
        return random.choice(FRAMES).format(thing)
    return talk(thing, OPENINGS, ENDINGS, unknown_words, random) if share < FRAMED + TALK else thing


def talk(
    thing: str,
    openings: tuple[str, ...],
    endings: tuple[str, ...],
    unknown: Callable[[Random], str],
    random: Random,
    gap: str = " ",
) -> str:
    """Return a thing after an opening, before an ending, or between the two.

    Some of either are ``unknown`` words.
    """
    parts = [thing]
    which = random.randrange(3)
    if which != 0:
        parts.insert(0, unknown(random) if random.random() < UNKNOWN else random.choice(openings))
    if which != 1:
        parts.append(unknown(random) if random.random() < UNKNOWN else random.choice(endings))
    return gap.join(parts)


def unknown_words(random: Random) -> str:
    """Return one to three words that mean nothing, so that a model learns to pass over them."""
    return " ".join(_unknown_word(random) for _ in range(random.randint(1, 3)))


def _unknown_word(random: Random) -> str:
    syllables = ("".join(map(random.choice, SYLLABLE)) for _ in range(random.randint(1, 3)))
    return "".join(syllables)


def _thing(noun: str, adjectives: tuple[str, ...], random: Random, colour: str | None) -> str:
    words = [_adjective(adjectives, random)] if random.random() < 0.45 else []
    if words and random.random() < 0.2:
        words.append(random.choice(adjectives))
    if colour:
        words.append(colour)
    if random.random() < PLURAL and countable(noun):
        return " ".join(filter(None, [random.choice(MANY), *words, plural(noun)]))
    phrase = " ".join([*words, noun])
    share = random.random()
    if share < BARE:
        return phrase
    if share < 0.7:
        return f"{article(phrase)} {phrase}"
    if share < 0.85:
        return f"{random.choice(('the', 'one', 'some', 'another'))} {phrase}"
    return f"{random.choice(OWNERS)} {phrase}"


def _adjective(adjectives: tuple[str, ...], random: Random) -> str:
    return _unknown_word(random) if random.random() < STRANGE else random.choice(adjectives)


def article(phrase: str) -> str:
    """Return "a" or "an", by the first letter."""
    sounds_so = phrase[0].lower() in "aeio" or phrase.lower().startswith(("um", "un-", "ug"))
    return "an" if sounds_so and not phrase.lower().startswith("one") else "a"


def countable(noun: str) -> bool:
    """Return whether the noun's plural is that of its last word."""
    return not noun.endswith("s") and not any(part in noun for part in UNCOUNTED)


def plural(noun: str) -> str:
    """Return the plural, for most nouns the right one."""
    for end, many in IRREGULAR.items():
        if noun.endswith(end):
            return noun.removesuffix(end) + many
    if noun.endswith(("s", "x", "z", "ch", "sh", "potato", "tomato", "mango")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou"):
        return f"{noun[:-1]}ies"
    return f"{noun}s"
