"""How often a tick waits for the device: torch's detector of host synchronisations counts."""

import warnings
from collections import Counter
from collections.abc import Mapping

import torch

from diffusion.backends.acceleration import Acceleration
from diffusion.bundle.bundle import load_bundle
from tests.gpu.ground import Figures, Ground
from tests.gpu.models import sd15_of
from workers.engine.calibrate import full_engine

ROWS = 8
TICKS = 20
MOST = 1
"""A tick may ask once whether its estimate is finite."""


def check(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Count the synchronisations of ticks without previews, checkpoints and images that end."""
    bundle = load_bundle(
        sd15_of(ground), device=str(ground.device), backend="torch", acceleration=Acceleration()
    )
    engine = full_engine(bundle, ROWS)
    for _tick in range(4):
        engine.tick()  # these are recorded
    if ground.cuda:
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _tick in range(TICKS):
                engine.tick()
    finally:
        if ground.cuda:
            torch.cuda.set_sync_debug_mode("default")
        engine.stop()
    where = Counter(
        f"{each.filename.rpartition('/')[2]}:{each.lineno}"
        for each in seen
        if "synchroniz" in str(each.message)
    )
    a_tick = sum(where.values()) / TICKS
    return {
        "synchronisations_a_tick": a_tick,
        "where": dict(where),
        "failed": [] if a_tick <= MOST else ["more than one synchronisation a tick"],
    }
