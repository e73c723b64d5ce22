"""The page about quality against steps."""

from collections.abc import Sequence
from pathlib import Path

from diffusion.model import ModelInfo
from diffusion.samplers.registry import SAMPLERS
from model_export.card import PROMPT_NAMES
from model_export.quality import LONG, Cell, QualitySettings
from model_export.template import render


def write_page(
    path: Path,
    info: ModelInfo,
    settings: QualitySettings,
    cells: Sequence[Cell],
    *,
    command: str,
    codec_psnr_db: float,
) -> Path:
    """Write the page as Markdown; its plot is expected beside it, under the same name."""
    drawn = [cell for cell in cells if cell.reason is None]
    text = render(
        "quality.md.jinja",
        info=info,
        settings=settings,
        samplers=SAMPLERS.values(),
        figures={(cell.sampler, cell.steps): vars(cell) for cell in drawn},
        refused=[cell for cell in cells if cell.reason is not None],
        rows=sum(cell.drawings * settings.rows(cell.sampler, cell.steps) for cell in drawn),
        prompt_name=PROMPT_NAMES[settings.prompts],
        long=LONG,
        command=command,
        codec_psnr_db=codec_psnr_db,
        plot=path.with_suffix(".png").name,
    )
    path.write_text(text, "utf-8")
    return path
