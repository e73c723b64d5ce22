"""Finished images and previews as files, with their generation parameters embedded."""

from io import BytesIO
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jobs.schema import JobSpec

CONTENT_TYPES = {"png": "image/png", "webp": "image/webp"}
PREVIEW_CONTENT_TYPE = "image/webp"
USER_COMMENT = 0x9286
EXIF_IFD = 0x8769


def parameters(spec: JobSpec, image: int, model_sha256: str) -> dict[str, Any]:
    """Return what an image depends on and nothing else: no id, no time, no worker."""
    return {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "num_inference_steps": spec.num_inference_steps,
        "sampler": spec.sampler,
        "schedule": spec.schedule,
        "eta": spec.eta,
        "guidance_scale": spec.guidance_scale,
        "guidance_rescale": spec.guidance_rescale,
        "seed": spec.image_seed(image),
        "width": spec.width,
        "height": spec.height,
        "model": spec.model,
        "model_sha256": model_sha256,
    }


def infotext(values: dict[str, Any]) -> str:
    """Return the parameters as the text that image tools know as ``parameters``."""
    lines = [values["prompt"]]
    if values["negative_prompt"]:
        lines.append(f"Negative prompt: {values['negative_prompt']}")
    lines.append(
        f"Steps: {values['num_inference_steps']}, Sampler: {values['sampler']}, "
        f"Schedule type: {values['schedule']}, CFG scale: {values['guidance_scale']:g}, "
        f"Seed: {values['seed']}, Size: {values['width']}x{values['height']}, "
        f"Model hash: {values['model_sha256'][:10]}, Model: {values['model']}"
    )
    return "\n".join(lines)


def encode(pixels: NDArray[np.uint8], output_format: str, values: dict[str, Any]) -> bytes:
    """Return pixels (H, W, 3) as a PNG or lossless WebP file; equal input gives equal bytes."""
    image = Image.fromarray(pixels)
    out = BytesIO()
    if output_format == "png":
        info = PngInfo()
        info.add_itxt("parameters", infotext(values))
        info.add_itxt("sfumato", orjson.dumps(values).decode())
        image.save(out, "PNG", pnginfo=info, compress_level=6)
    else:
        exif = Image.Exif()
        comment = b"UNICODE\0" + infotext(values).encode("utf-16-be")
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = comment
        image.save(out, "WEBP", lossless=True, method=4, exif=exif)
    return out.getvalue()


def encode_preview(pixels: NDArray[np.uint8]) -> bytes:
    """Return a small WebP file of pixels (H, W, 3), encoded for speed."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=80, method=0)
    return out.getvalue()
