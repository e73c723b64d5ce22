"""The bounds that a model's scheduler keeps the denoised estimate within: of models of pixels."""

from collections.abc import Mapping
from typing import Any

from diffusion.schedules.keys import completed


def estimate_bound(config: Mapping[str, Any]) -> float | None:
    """Return c if the scheduler clips the estimate to [−c, c], None if it does not, or cannot."""
    whole = completed(config)
    return float(whole.get("clip_sample_range", 1.0)) if whole.get("clip_sample") else None
