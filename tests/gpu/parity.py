"""Every layout, tiny: the device's pictures beside the processor's."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from diffusion.backends.acceleration import Acceleration
from diffusion.bundle.bundle import load_bundle
from tests.gpu.ground import Figures, Ground
from tests.parity.entry import Entry
from tests.parity.table import ALL, ours

BOUND = 2
"""Of 255: a device sums in another order, and a level of noise is divided by at the end."""
STEPS = 4


def check(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Draw each layout on both, in float32; say how far the device is off."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        found = {entry.name: _difference(ground, entry) for entry in _layouts(ground)}
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    beyond = [name for name, each in found.items() if not isinstance(each, int) or each > BOUND]
    return {"of_255": found, "bound": BOUND, "failed": beyond}


def _layouts(ground: Ground) -> list[Entry]:
    """Return an entry for each layout; on tiny ground a few."""
    seen: dict[object, Entry] = {}
    for entry in ALL:
        seen.setdefault(entry.write, entry)
    entries = list(seen.values())
    return entries[::8] if ground.tiny else entries


def _difference(ground: Ground, entry: Entry) -> int | str:
    folder = ground.folder / "layouts" / "".join(c for c in entry.name if c.isalnum())
    folder.parent.mkdir(exist_ok=True)
    try:
        entry.write(folder)
        here = _drawn(entry, folder, torch.device("cpu"))
        there = _drawn(entry, folder, ground.device)
    except Exception as error:  # a layout that fails must not cost the others their figures
        return f"{type(error).__name__}: {error}"
    return int(np.abs(here.astype(int) - there.astype(int)).max())


def _drawn(entry: Entry, folder: Path, device: torch.device) -> np.ndarray:
    bundle = load_bundle(folder, device=str(device), backend="torch", acceleration=Acceleration())
    return ours(entry, bundle, None, STEPS)  # on CUDA its later steps are replayed
