"""A contact sheet: many drawings at a glance, each beside its reference if wanted."""

from pathlib import Path

import numpy as np
from PIL import Image

from diffusion.bundle import Bundle
from model_export.evaluate import Prompts, prompt_for
from model_export.gallery import Gallery, tile
from model_export.sampling import SamplingSettings, draw


def write_sheet(
    path: Path,
    bundle: Bundle,
    gallery: Gallery,
    prompts: Prompts,
    settings: SamplingSettings,
    *,
    columns: int = 20,
    seed: int = 0,
    references: bool = False,
) -> Path:
    """Draw the gallery's trained emoji, one seed each, and write them as one PNG."""
    texts = [prompt_for(gallery.emoji[i], prompts) for i in gallery.trained]
    seeds = [seed * 10_000 + i for i in range(len(texts))]
    cells = np.stack(list(draw(bundle, texts, seeds, settings)))
    if references:
        cells = np.concatenate([gallery.pictures, cells], axis=2)
    Image.fromarray(tile(cells, columns)).save(path, optimize=True)
    return path
