"""What a model card says of its data: emoji of a font, or somebody's own pictures."""

from dataclasses import dataclass
from typing import Any

from model_export.bundle import has_emoji
from model_export.evaluate import PROMPTS
from model_export.labels import CAPTION


@dataclass(frozen=True)
class Provenance:
    """The words of a card that hang on what the model was made of."""

    licence: str  # a line of the head, or nothing
    prompts: str  # what it draws, and from what
    things: str  # what it was trained on
    one: str  # of them
    others: str
    among: str  # what a drawing is compared with
    mix: str  # what prompts it was trained under
    folder: str  # the data set's
    data: str  # the command that made it
    before_measuring: tuple[str, ...]  # commands
    after_measuring: tuple[str, ...]
    gallery: str  # the option of commands that measure
    kinds: tuple[str, ...]  # of prompts that can be measured
    limits: str
    licences: str


EMOJI_LICENCES = """\
Pictures: Noto Color Emoji 2.042 (SIL Open Font License 1.1, `LICENSE-OFL.txt`). Labels and tags:
emojibase-data 17.0.0 (MIT, `LICENSE-emojibase-data.txt`), drawn from Unicode CLDR. See
`NOTICE.txt`, also for the terms of the weights."""

EMOJI = Provenance(
    licence="license: ofl-1.1\n",
    prompts="Text to emoji, {side}×{side} pixels, English and Chinese prompts.",
    things="emoji",
    one="emoji",
    others="emoji",
    among="the 1,624 of a fixed gallery",
    mix="of five kinds, by the shares above.",
    folder="data",
    data="data --labels emojibase-data-17.0.0.tgz --out data",
    before_measuring=(),
    after_measuring=("held-out <bundle>",),
    gallery="",
    kinds=tuple(kind for kind in PROMPTS if kind != CAPTION),
    limits="""\
It knows its emoji and little else: a prompt outside them gives the nearest one, a mixture, or a
blot. Pale animals and faces that differ in small features are its weak side. It has only seen
64×64; on a larger canvas it repeats itself or misplaces things.""",
    licences=f"""\
{EMOJI_LICENCES} It can draw no person's likeness: there is none
in its data.""",
)


def provenance(training: dict[str, Any]) -> Provenance:
    """Return what the record of a training says of its data."""
    if "data" not in training:
        return EMOJI
    return _own(training["data"], mixed=has_emoji(training))


def _own(data: dict[str, Any], *, mixed: bool) -> Provenance:
    before = f"\n\nIt began from weights trained on emoji. {EMOJI_LICENCES}" if mixed else ""
    folder = "own" if mixed else "data"  # the emoji are in "data"
    return Provenance(
        licence=EMOJI.licence if mixed else "",
        prompts="Text to picture, {side}×{side} pixels.",
        things="pictures of its maker's own",
        one="picture",
        others="captions",
        among=f"the {data['pictures']:,} of its data set",
        mix=f"the pictures' captions, {data['captions']:,} in all, each of a picture's as often.",
        folder=folder,
        data=f"pictures <folder> --out {folder}",
        before_measuring=(f"gallery {folder} --out gallery",),
        after_measuring=(),
        gallery=" --gallery gallery",
        kinds=(CAPTION,),
        limits="""\
It knows its pictures and little else: a prompt outside their captions gives the nearest one, a
mixture, or a blot. It has only seen 64×64; on a larger canvas it repeats itself or misplaces
things.""",
        licences=f"""\
Pictures and captions are its maker's own, and so are the terms of the weights. What the pictures
show, a person's likeness among it, it may show again.{before}""",
    )
