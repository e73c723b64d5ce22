"""The batch size that the device likes best, measured at start."""

from statistics import median
from time import perf_counter

import structlog
import torch
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import Guidance, denoise

log = structlog.get_logger()
WITHIN = 0.99
"""The smallest batch that reaches this share of the best speed is taken."""
ROUNDS = 7
BUDGET_S = 3.0


def calibrate(bundle: Bundle, most: int) -> int:
    """Return the smallest of the sizes up to ``most`` within 1 % of the best rows per second."""
    speeds = {rows: round(speed, 1) for rows, speed in speeds_by_rows(bundle, most).items()}
    if not speeds:
        return 2
    chosen = min(rows for rows, speed in speeds.items() if speed >= WITHIN * max(speeds.values()))
    shown = {str(rows): speed for rows, speed in speeds.items()}
    log.info("calibrated", rows_per_tick=chosen, rows_per_s=shown)
    return chosen


def speeds_by_rows(bundle: Bundle, most: int) -> dict[int, float]:
    """Return rows per second at the sizes up to ``most``, as many as fit in memory.

    The sizes take turns, so that a machine busy for a while slows all of them alike.
    """
    seconds: dict[int, list[float]] = {}
    for rows in sizes(most):
        try:
            evaluation_s(bundle, rows)  # warms caches
        except torch.OutOfMemoryError:
            break
        seconds[rows] = []
    until = perf_counter() + BUDGET_S
    for turn in range(ROUNDS):
        if turn > 1 and perf_counter() > until:
            break
        for size, taken in seconds.items():
            taken.append(evaluation_s(bundle, size))
    return {size: size / median(taken) for size, taken in seconds.items()}


def sizes(most: int) -> list[int]:
    """Return the powers of two from 2 up to ``most``, and the sizes half-way between them."""
    powers = [2**n for n in range(1, max(2, most).bit_length())]
    return [size for power in powers for size in (power, power * 3 // 2) if size <= max(2, most)]


@torch.inference_mode()
def evaluation_s(bundle: Bundle, rows: int) -> float:
    """Return the seconds of one evaluation of ``rows`` unguided rows at base resolution.

    Raises:
        torch.OutOfMemoryError: the device cannot hold that many.
    """
    info = bundle.info
    cond = bundle.encode_prompts([""])[0]
    guidance = [Guidance(cond, cond, size=(info.width, info.height))] * rows
    latents = torch.zeros((rows, *bundle.latent_shape(info.width, info.height)))
    latents = latents.to(bundle.device)
    started = perf_counter()
    denoised: Tensor = denoise(
        bundle.backend,
        bundle.noise_schedule.prediction_type,
        latents,
        [1.0] * rows,
        [500.0] * rows,
        guidance,
    )
    denoised.sum().item()
    return perf_counter() - started
