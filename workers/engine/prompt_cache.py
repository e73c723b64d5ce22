"""Conditionings of the prompts that were drawn last, on the model's device."""

from collections import OrderedDict
from collections.abc import Callable

from diffusion.model import Conditioning
from diffusion.parts.weighted_prompt import Weighting

Encode = Callable[[str, Weighting | None], Conditioning]

BYTES_KEPT = 128 * 2**20
"""560 prompts of SD 1.5, 16 of FLUX.1 (512 tokens each), or all the texts of one that changes."""


class PromptCache:
    """Encodes prompts and keeps the latest within a bound in bytes, one at least."""

    def __init__(self, encode: Encode, bytes_kept: int = BYTES_KEPT) -> None:
        self._encode = encode
        self._bytes_kept = bytes_kept
        self._kept: OrderedDict[tuple[str, Weighting | None], Conditioning] = OrderedDict()
        self._bytes = 0

    def __call__(self, prompt: str, weighting: Weighting | None = None) -> Conditioning:
        """Return the prompt's conditioning."""
        key = prompt, weighting
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._encode(prompt, weighting)
            self._bytes += found.nbytes
        self._kept.move_to_end(key)
        while self._bytes > self._bytes_kept and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return found
