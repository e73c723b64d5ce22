"""What TensorRT is told of a network: the sizes it is built for, and where its engines are kept.

Without sizes it builds an engine for the first batch, and another, for minutes, for every larger
one. Nothing here has run on TensorRT.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

USUAL_ROWS = 16
TOKENS = (1, 77, 154)
"""Of a prompt: the fewest, CLIP's, the most."""
SMALLEST = 8  # latents a side


def provider_options(
    inputs: Mapping[str, Sequence[int | str]],
    side: int,
    most_rows: int,
    cache: Path | None,
    *,
    halves: bool,
) -> dict[str, Any]:
    """Return the options of ONNX Runtime's TensorRT provider for a UNet.

    Args:
        inputs: the shape of each, with a name for a dimension of any size.
        side: of the base resolution, in latents.
        most_rows: of a batch.
        cache: where engines are kept; None: nowhere.
        halves: whether the graph is in float16.
    """
    usual = {
        "rows": (1, min(USUAL_ROWS, most_rows), most_rows),
        "height": (min(SMALLEST, side), side, 2 * side),
        "width": (min(SMALLEST, side), side, 2 * side),
        "tokens": TOKENS,
    }
    options: dict[str, Any] = {"trt_fp16_enable": halves}
    for at, which in enumerate(("min", "opt", "max")):
        shapes = [
            f"{name}:{'x'.join(str(_size(each, usual, at)) for each in shape)}"
            for name, shape in inputs.items()
        ]
        options[f"trt_profile_{which}_shapes"] = ",".join(shapes)
    if cache is not None:
        kept = str(cache / "tensorrt")
        options |= {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": kept,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": kept,
        }
    return options


def _size(dimension: int | str, usual: Mapping[str, tuple[int, int, int]], at: int) -> int:
    return dimension if isinstance(dimension, int) else usual[dimension][at]
