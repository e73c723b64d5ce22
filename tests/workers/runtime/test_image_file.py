"""Finished images as files."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from tests.jobs.examples import spec
from workers.runtime.image_file import EXIF_IFD, USER_COMMENT, encode, encode_preview, parameters

PIXELS = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
VALUES = parameters(spec(prompt="红苹果", negative_prompt="blurry"), 0, "ab" * 32)


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_files_are_lossless_and_the_same_every_time(output_format: str) -> None:
    data = encode(PIXELS, output_format, VALUES)
    assert data == encode(PIXELS, output_format, VALUES)
    image = Image.open(BytesIO(data))
    assert image.format == output_format.upper()
    assert np.array_equal(np.asarray(image), PIXELS)


def test_png_carries_its_parameters_twice() -> None:
    image = Image.open(BytesIO(encode(PIXELS, "png", VALUES)))
    assert json.loads(image.info["sfumato"]) == VALUES
    first, second, third = image.info["parameters"].splitlines()
    assert (first, second) == ("红苹果", "Negative prompt: blurry")
    assert third.startswith("Steps: 10, Sampler: euler, Schedule type: karras, CFG scale: 1,")
    assert third.endswith("Seed: 7, Size: 64x64, Model hash: ababababab, Model: toy")


def test_webp_carries_its_parameters_as_the_user_comment() -> None:
    image = Image.open(BytesIO(encode(PIXELS, "webp", VALUES)))
    comment = image.getexif().get_ifd(EXIF_IFD)[USER_COMMENT]
    assert "红苹果" in comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


def test_previews_are_small() -> None:
    data = encode_preview(PIXELS)
    assert Image.open(BytesIO(data)).size == (48, 32)
    assert len(data) < PIXELS.nbytes
