"""What of a model directory is read and what is passed over, in words for its log."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from diffusion.config import shown
from diffusion.errors import BundleError
from diffusion.files import (
    INDEX,
    PARTS,
    SCHEDULER_CONFIG,
    TINY_DECODER,
    part_folder,
    read_json,
    shown_name,
)
from diffusion.parts.loading import DIFFUSERS_STEM, TRANSFORMERS_STEM
from diffusion.parts.weights import weight_files
from diffusion.tensor_file import read_header

EXPORTS = "onnx"
SAFETY_CHECKER = "safety_checker"
FEATURE_EXTRACTOR = "feature_extractor"
AVERAGES = "model_ema."


def notes(folder: Path) -> tuple[str, ...]:
    """Return in sentences which variant of its weights each part has, and what is not used.

    It reads names and headers; what is broken is left to loading.
    """
    found: list[str] = []
    for path in sorted(each for each in folder.iterdir() if each.is_dir()):
        name = shown_name(path.name)
        if path.name in PARTS:
            found += _of_part(path)
        elif path.name == SAFETY_CHECKER:
            found.append("safety_checker is not run unless SFUMATO_SAFETY is set")
        elif path.name.endswith("_ema") or path.name.startswith("ema"):
            found.append(f"{name} is ignored: moving averages (EMA) are not drawn with")
        elif path.name not in (EXPORTS, FEATURE_EXTRACTOR, TINY_DECODER):
            found.append(f"{name} is ignored")
    return tuple(found + list(_of_scheduler(folder)))


def weight_bytes(folder: Path) -> int:
    """Return what the weights that are read take as they are stored.

    It looks at names and sizes; what is broken is left to loading.
    """
    found = 0
    for path in (folder, *(folder / part for part in PARTS)):
        for stem in (DIFFUSERS_STEM, TRANSFORMERS_STEM):
            if path.is_dir() and list(path.glob(f"{stem}*.safetensors*")):
                with suppress(BundleError):
                    found += sum(p.stat().st_size for p in weight_files(path, stem).paths)
    return found


def _of_scheduler(folder: Path) -> Iterator[str]:
    try:
        named = read_json(folder / INDEX).get("scheduler")
        place = part_folder(folder, "scheduler", SCHEDULER_CONFIG)
        taken = read_json(place / SCHEDULER_CONFIG).get("_class_name")
    except BundleError:
        return
    if isinstance(named, list) and len(named) == 2 and taken and named[1] != taken:
        yield f"the scheduler is {shown(named[1])} as {INDEX} says, not its file's {shown(taken)}"


def _of_part(folder: Path) -> Iterator[str]:
    for stem in (DIFFUSERS_STEM, TRANSFORMERS_STEM):
        if not list(folder.glob(f"{stem}.*safetensors*")):
            continue
        try:
            files = weight_files(folder, stem)
            averages = any(n.startswith(AVERAGES) for p in files.paths for n in read_header(p))
        except BundleError:
            return
        others = ", ".join(word or "plain" for word in files.others)
        if files.variant or others:
            left = f"; {others} ignored" if others else ""
            yield f"{folder.name}: {files.variant or 'plain'} weights{left}"
        if averages:
            yield f"{folder.name}: moving averages (EMA) are ignored"
