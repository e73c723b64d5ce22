"""The batch size that the device likes best, measured at start."""

from time import perf_counter

import structlog
import torch

from diffusion.bundle import Bundle
from diffusion.denoiser import Guidance, denoise

log = structlog.get_logger()
WITHIN = 0.95
"""The smallest batch that reaches this share of the best speed is taken."""


def rows_per_second(bundle: Bundle, rows: int, repeats: int = 3) -> float:
    """Return the best speed of a forward pass over ``rows`` unguided rows at base resolution.

    Raises:
        torch.OutOfMemoryError: the device cannot hold that many.
    """
    info = bundle.info
    cond = bundle.encode_prompts([""])[0]
    guidance = [Guidance(cond, cond, size=(info.width, info.height))] * rows
    latents = torch.zeros((rows, *bundle.latent_shape(info.width, info.height)))
    latents = latents.to(bundle.device)
    best = 0.0
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first warms caches and is left out when there are more
            started = perf_counter()
            denoised = denoise(
                bundle.backend,
                bundle.noise_schedule.prediction_type,
                latents,
                [1.0] * rows,
                [500.0] * rows,
                guidance,
            )
            denoised.sum().item()
            best = max(best, rows / (perf_counter() - started))
    return best


def calibrate(bundle: Bundle, most: int) -> int:
    """Return the smallest power of two up to ``most`` within 5 % of the best rows per second."""
    speeds: dict[int, float] = {}
    rows = 2
    while rows <= max(2, most):
        try:
            speeds[rows] = rows_per_second(bundle, rows)
        except torch.OutOfMemoryError:
            break
        rows *= 2
    if not speeds:
        return 2
    best = max(speeds.values())
    chosen = min(rows for rows, speed in speeds.items() if speed >= WITHIN * best)
    shown = {str(rows): round(speed, 1) for rows, speed in speeds.items()}
    log.info("calibrated", rows_per_tick=chosen, rows_per_s=shown)
    return chosen
