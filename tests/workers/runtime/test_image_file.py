"""Finished images as files."""

import json
import re
import struct
import zlib
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from diffusion.samplers.registry import SAMPLERS
from diffusion.schedules.levels import OWN
from diffusion.schedules.spread import SAMPLING_SCHEDULES
from jobs.schema import JobSpec
from tests.jobs.examples import spec
from workers.runtime.image_file import (
    CONTENT_TYPES,
    EXIF_IFD,
    MAKER_NOTE,
    SCHEDULE_TYPES,
    USER_COMMENT,
    encode,
    encode_preview,
    infotext,
    parameters,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
VALUES = parameters(spec(prompt="红苹果", negative_prompt="blurry"), 0, "ab" * 32)
# As its reader does (modules/infotext_utils.py).
A1111_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def drawn(**changes: object) -> JobSpec:
    return spec().model_copy(update=changes)


def read_by_a1111(text: str) -> tuple[str, str, dict[str, str]]:
    """Return the prompt, the negative prompt and the other fields as AUTOMATIC1111 reads them."""
    *lines, last = text.strip().split("\n")
    fields = A1111_FIELD.findall(last)
    assert len(fields) >= 3, "its reader takes the line for a part of the prompt"
    starts = [n for n, line in enumerate(lines) if line.startswith("Negative prompt:")]
    split = starts[0] if starts else len(lines)
    negative = "\n".join(lines[split:]).removeprefix("Negative prompt:")
    unquoted = {name: json.loads(v) if v.startswith('"') else v for name, v in fields}
    return "\n".join(lines[:split]), negative.strip(), unquoted


def embedded(data: bytes) -> tuple[str, dict[str, Any]]:
    """Return a file's text and JSON, whatever its format."""
    image = Image.open(BytesIO(data))
    if image.format == "PNG":
        return image.info["parameters"], json.loads(image.info["sfumato"])
    exif = image.getexif().get_ifd(EXIF_IFD)
    text = exif[USER_COMMENT].removeprefix(b"UNICODE\0").decode("utf-16-be")
    return text, json.loads(exif[MAKER_NOTE])


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the kind of each text chunk of a PNG file by its key."""
    found, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        if kind in (b"tEXt", b"iTXt") and not body.startswith(b"XML:"):
            found[body.split(b"\0")[0]] = kind
        at += 12 + length
    return found


SMOOTH = np.linspace(0, 255, 32 * 48 * 3).reshape(32, 48, 3).astype(np.uint8)


@pytest.mark.parametrize("output_format", CONTENT_TYPES)
def test_files_are_the_same_every_time_and_lossless_or_nearly(output_format: str) -> None:
    lossless = output_format in ("png", "webp")
    pixels = PIXELS if lossless else SMOOTH
    data = encode(pixels, output_format, VALUES)
    assert data == encode(pixels, output_format, VALUES)
    image = Image.open(BytesIO(data))
    assert image.format == output_format.upper()
    off = np.abs(np.asarray(image.convert("RGB")).astype(int) - pixels)
    assert off.max() <= (0 if lossless else 12)


@pytest.mark.parametrize("output_format", CONTENT_TYPES)
def test_every_file_says_that_it_was_generated(output_format: str) -> None:
    data = encode(PIXELS, output_format, VALUES)
    image = Image.open(BytesIO(data))
    packet = image.info["XML:com.adobe.xmp"] if output_format == "png" else image.info["xmp"]
    packet = packet if isinstance(packet, str) else packet.decode()
    (description,) = ElementTree.fromstring(packet.partition("?>")[2].rpartition("<?")[0])[0]
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert description.attrib[name].endswith("/trainedAlgorithmicMedia")


def test_a_jpeg_leaves_out_parameters_that_do_not_fit() -> None:
    long = VALUES | {"prompt": "红" * 20_000}
    assert embedded(encode(PIXELS, "webp", long))[1] == long
    image = Image.open(BytesIO(encode(PIXELS, "jpeg", long)))
    tags = image.getexif().get_ifd(EXIF_IFD)
    assert json.loads(tags[MAKER_NOTE]) == long
    assert USER_COMMENT not in tags
    huge = VALUES | {"prompt": "红" * 60_000}
    assert not Image.open(BytesIO(encode(PIXELS, "jpeg", huge))).getexif().get_ifd(EXIF_IFD)


@pytest.mark.parametrize("output_format", CONTENT_TYPES)
@pytest.mark.parametrize("prompt", ["a red apple", "红苹果", "café\nau lait, 3: 2", "Steps: 1", ""])
def test_every_format_carries_all_parameters(output_format: str, prompt: str) -> None:
    wanted = drawn(
        prompt=prompt, negative_prompt="blurry", sampler="ddim", schedule="sgm_uniform", eta=0.3,
        guidance_scale=7.123456789, guidance_rescale=0.7, seed=2**53 + 1, num_images=4,
    )  # fmt: skip
    values = parameters(wanted, 2, "ab" * 32)
    text, as_json = embedded(encode(PIXELS, output_format, values))
    assert as_json == values
    assert read_by_a1111(text) == (
        prompt.strip(),
        "blurry",
        {
            "Steps": "10", "Sampler": "DDIM", "Schedule type": "SGM Uniform",
            "CFG scale": "7.123456789", "Seed": str(2**53 + 3), "Size": "64x64",
            "Model hash": "ababababab", "Model": "toy", "Eta": "0.3", "CFG Rescale": "0.7",
        },
    )  # fmt: skip


def test_the_text_is_in_the_chunk_that_every_reader_takes() -> None:
    plain = parameters(spec(prompt="crème brûlée"), 0, "ab" * 32)
    assert set(chunks(encode(PIXELS, "png", plain)).values()) == {b"tEXt"}
    assert set(chunks(encode(PIXELS, "png", VALUES)).values()) == {b"iTXt"}


def test_samplers_and_schedules_have_the_names_of_image_tools() -> None:
    values = parameters(drawn(sampler="dpmpp_2m"), 0, "ab" * 32)
    assert "Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 1, Seed: 7" in infotext(values)
    assert SCHEDULE_TYPES.keys() == {*SAMPLING_SCHEDULES, OWN}
    names = {"euler_ancestral": "Euler a", "dpmpp_3m_sde": "DPM++ 3M SDE", "dpm2": "DPM2"}
    assert {name: SAMPLERS[name].title for name in names} == names


def test_an_eta_that_is_left_to_the_sampler_is_said() -> None:
    assert parameters(drawn(sampler="euler_ancestral"), 0, "")["eta"] == 1.0
    assert parameters(drawn(sampler="ddim"), 0, "")["eta"] == 0.0
    assert parameters(drawn(sampler="euler"), 0, "")["eta"] is None


def test_a_models_name_does_not_end_the_text() -> None:
    values = parameters(drawn(model='v2: "soft", final'), 0, "ab" * 32)
    assert read_by_a1111(infotext(values))[2]["Model"] == 'v2: "soft", final'


def test_previews_are_small() -> None:
    data = encode_preview(PIXELS)
    assert Image.open(BytesIO(data)).size == (48, 32)
    assert len(data) < PIXELS.nbytes
