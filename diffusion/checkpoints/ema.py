"""Moving averages of the weights (EMA), which some files hold beside them or alone.

Their names have lost the dots: ``model_ema.diffusion_modelinput_blocks00weight``.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from diffusion.checkpoints.families import UNET
from diffusion.errors import BundleError

EMA = "model_ema."
FLAT = f"{EMA}diffusion_model"
WORDS = re.compile(
    r"(?P<block>input_blocks|output_blocks)(?P<number>\d+)(?P<layer>\d)"
    r"|(?P<twice>label_emb)(?P<first>\d)(?P<second>\d)"
    r"|transformer_blocks|skip_connection|middle_block|time_embed|out_layers|emb_layers|in_layers"
    r"|proj_out|proj_in|to_out|to_q|to_k|to_v|attn[12]|norm[123]?|weight|bias|conv|proj|net|out"
    r"|ff|op|\d+"
)


def averaged(names: Iterable[str], file: Path) -> dict[str, str]:
    """Return the names of a file's averages by the names of the weights that they average.

    Raises:
        BundleError: one of them is no weight's of a UNet.
    """
    return {
        UNET + _dotted(name.removeprefix(FLAT), file): name
        for name in names
        if name.startswith(FLAT)
    }


def _dotted(flat: str, file: Path) -> str:
    words, place = [], 0
    while match := WORDS.match(flat, place):
        groups = [value for value in match.groups() if value is not None]
        words += groups or [match[0]]
        place = match.end()
    if place != len(flat):
        raise BundleError(f"{file.name}: {FLAT}{flat[:80]} is no weight of a UNet")
    return ".".join(words)
