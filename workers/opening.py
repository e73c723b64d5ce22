"""Opening slots: prompts encoded, the sampler compiled, the first noise drawn."""

from diffusion.bundle import Bundle
from diffusion.denoiser import Guidance
from diffusion.model import Conditioning
from workers.messages import Picture
from workers.slot import Slot, open_slot

PROMPTS_KEPT = 64


class Opening:
    """Opens slots for one bundle, with the conditionings of recent prompts at hand.

    Not thread-safe: one caller at a time.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._encoded: dict[str, Conditioning] = {}  # oldest use first

    def open(self, picture: Picture) -> tuple[Slot, bool]:
        """Return a slot and whether an earlier state had to be refused.

        Raises:
            SamplerError, ScheduleError: the order cannot be compiled.
        """
        return open_slot(self._bundle, picture, self._guidance(picture))

    def _guidance(self, picture: Picture) -> Guidance:
        cond = self._conditioning(picture.prompt)
        unguided = picture.guidance_scale == 1.0
        return Guidance(
            cond,
            cond if unguided else self._conditioning(picture.negative_prompt),
            size=(picture.width, picture.height),
            scale=picture.guidance_scale,
            rescale=picture.guidance_rescale,
        )

    def _conditioning(self, prompt: str) -> Conditioning:
        """Encode a prompt by itself, so that it never depends on others."""
        known = self._encoded.pop(prompt, None)
        if known is None:
            known = self._bundle.encode_prompts([prompt])[0]
            while len(self._encoded) >= PROMPTS_KEPT:
                del self._encoded[next(iter(self._encoded))]
        self._encoded[prompt] = known
        return known
