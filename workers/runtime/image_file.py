"""Finished images and previews as files, with their generation parameters embedded."""

from io import BytesIO
from typing import Any, get_args

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from diffusion.samplers.registry import sampler_info
from jobs.schema import JobSpec, OutputFormat

SCHEDULE_TYPES = {
    "leading": "DDIM",
    "linspace": "Uniform",
    "trailing": "Simple",
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "sgm_uniform": "SGM Uniform",
    "model": "Automatic",
}
"""AUTOMATIC1111's names of our schedules, whose levels these are."""

CONTENT_TYPES = {each: f"image/{each}" for each in get_args(OutputFormat)}
PREVIEW_CONTENT_TYPE = "image/webp"
BLUR = 12  # radii of the blur along a picture's longer side
JPEG_SEGMENT = 64_000
"""Bytes of parameters in a JPEG file, whose parts end at 64 KiB: the JSON goes before the text."""
GENERATED = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType="
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
"""IPTC's mark of a picture that a model generated, as XMP."""
EXIF_IFD = 0x8769
USER_COMMENT = 0x9286
MAKER_NOTE = 0x927C


def parameters(spec: JobSpec, image: int, model_sha256: str) -> dict[str, Any]:
    """Return what an image depends on and nothing else: no id, no time, no worker.

    They are those of the image drawn alone, with its own seed. An eta that was left to the sampler
    is the sampler's; null is that of a sampler which has none.
    """
    eta = sampler_info(spec.sampler).eta if spec.eta is None else spec.eta
    syntax = {} if spec.prompt_syntax == "plain" else {"prompt_syntax": spec.prompt_syntax}
    return {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        **syntax,
        "num_inference_steps": spec.num_inference_steps,
        "sampler": spec.sampler,
        "schedule": spec.schedule,
        "eta": eta,
        "guidance_scale": spec.guidance_scale,
        "guidance_rescale": spec.guidance_rescale,
        "seed": spec.image_seed(image),
        "width": spec.width,
        "height": spec.height,
        "model": spec.model,
        "model_sha256": model_sha256,
    }


def infotext(values: dict[str, Any]) -> str:
    """Return the parameters as AUTOMATIC1111 writes them, in its names, for its readers."""
    lines = [values["prompt"]]
    if values["negative_prompt"]:
        lines.append(f"Negative prompt: {values['negative_prompt']}")
    fields = {
        "Steps": values["num_inference_steps"],
        "Sampler": sampler_info(values["sampler"]).title,
        "Schedule type": SCHEDULE_TYPES[values["schedule"]],
        "CFG scale": _number(values["guidance_scale"]),
        "Seed": values["seed"],
        "Size": f"{values['width']}x{values['height']}",
        "Model hash": values["model_sha256"][:10],
        "Model": values["model"],
    }
    if values["eta"] is not None:
        fields["Eta"] = _number(values["eta"])
    if values["guidance_rescale"]:
        fields["CFG Rescale"] = _number(values["guidance_rescale"])
    lines.append(", ".join(f"{name}: {_quoted(str(value))}" for name, value in fields.items()))
    return "\n".join(lines)


def _number(value: float) -> str:
    """Return the shortest decimal that is exactly this number."""
    return repr(value).removesuffix(".0")


def _quoted(text: str) -> str:
    """Return a value so that its own commas and colons do not end it."""
    plain = not any(mark in text for mark in ',:\n"')
    return text if plain else orjson.dumps(text).decode()


def encode(
    pixels: NDArray[np.uint8], output_format: str, values: dict[str, Any], *, blur: bool = False
) -> bytes:
    """Return pixels (H, W, 3) as a file; equal input gives equal bytes.

    PNG and WebP are lossless. Each has the parameters as text and as JSON, and says in XMP that it
    was generated. ``blur`` leaves no more of the picture than its colours.
    """
    image = Image.fromarray(pixels)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(max(image.size) / BLUR))
    out = BytesIO()
    match output_format:
        case "png":
            image.save(out, "PNG", pnginfo=_chunks(values), compress_level=6)
        case "webp":
            image.save(out, "WEBP", lossless=True, method=4, exif=_exif(values), xmp=GENERATED)
        case "jpeg":
            fitting = _exif(values, most=JPEG_SEGMENT)
            image.save(out, "JPEG", quality=95, subsampling=0, exif=fitting, xmp=GENERATED)
        case _:
            exif = _exif(values).tobytes()  # of the object, Pillow writes the first part alone
            image.save(out, "AVIF", quality=90, speed=8, exif=exif, xmp=GENERATED)
    return out.getvalue()


def _chunks(values: dict[str, Any]) -> PngInfo:
    info = PngInfo()
    info.add_text("parameters", infotext(values))  # tEXt, or iTXt beyond Latin-1
    info.add_text("sfumato", orjson.dumps(values).decode())
    info.add_itxt("XML:com.adobe.xmp", GENERATED.decode())
    return info


def _exif(values: dict[str, Any], most: int | None = None) -> Image.Exif:
    """Return the parameters as Exif; of at most so many bytes, without those that do not fit."""
    exif = Image.Exif()
    comment = b"UNICODE\0" + infotext(values).encode("utf-16-be")
    tags = {USER_COMMENT: comment, MAKER_NOTE: orjson.dumps(values)}
    while most is not None and tags and sum(map(len, tags.values())) > most:
        tags.pop(next(iter(tags)))
    exif.get_ifd(EXIF_IFD).update(tags)
    return exif


def encode_preview(pixels: NDArray[np.uint8], size: int | None = None) -> bytes:
    """Return a small WebP file of pixels (H, W, 3), encoded for speed.

    The longer side is scaled down to ``size`` where it is larger.
    """
    image = Image.fromarray(pixels)
    if size is not None:
        image.thumbnail((size, size))
    out = BytesIO()
    image.save(out, "WEBP", quality=80, method=0)
    return out.getvalue()
