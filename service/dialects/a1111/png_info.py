"""Parameters embedded in an image."""

import asyncio
import base64
import binascii
from io import BytesIO
from typing import Any

from fastapi import APIRouter, Depends
from PIL import Image
from pydantic import BaseModel

from service.api.caller import JobsCaller
from service.api.jobs import require_json
from service.dialects.a1111.errors import ANSWERS
from service.http.problem import Refusal

router = APIRouter()

FORMATS = ("PNG", "WEBP", "JPEG", "AVIF")
MOST_CHARS = 64 * 1024
"""Of an image's texts."""
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286


class Info(BaseModel):
    """The body of a request: an image, in base64."""

    image: str


@router.post(
    "/png-info",
    summary="Read an image's parameters",
    dependencies=[Depends(require_json)],
    responses=ANSWERS,
)
async def png_info(body: Info, caller: JobsCaller) -> dict[str, Any]:
    """Return the parameters embedded in an image made by Sfumato or by AUTOMATIC1111."""
    encoded = body.image.partition(",")[2] if body.image.startswith("data:") else body.image
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, "invalid_request", "image is not base64", field="image") from error
    text, items = await asyncio.to_thread(text_of, data)
    return {"info": text, "items": items, "parameters": {}}


def text_of(data: bytes) -> tuple[str, dict[str, str]]:
    """Return an image's parameters as text, and all of its texts; no pixel is decoded.

    Raises:
        Refusal: 422, it is no image of ours or its texts are too long.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            found = dict(image.info)
            items = {str(k): v for k, v in found.items() if isinstance(v, str)}
            if "parameters" not in items and (text := _comment(found.get("exif"))):
                items["parameters"] = text
    except (Exception, Image.DecompressionBombError) as error:  # whatever a plugin raises
        raise Refusal(422, "invalid_request", "not an image", field="image") from error
    if sum(map(len, items.values())) > MOST_CHARS:
        raise Refusal(422, "invalid_request", "the image's texts are too long", field="image")
    return items.get("parameters", ""), items


def _comment(exif: object) -> str:
    """Return the comment in Exif data, which is where WebP, JPEG and AVIF have the parameters."""
    if not isinstance(exif, bytes):
        return ""
    read = Image.Exif()
    read.load(exif)
    comment = read.get_ifd(EXIF_IFD).get(USER_COMMENT, b"")
    if not isinstance(comment, bytes) or not comment.startswith(b"UNICODE\0"):
        return ""
    return comment[8:].decode("utf-16-be", "replace")
