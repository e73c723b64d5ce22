"""Parameters embedded in an image."""

import base64
import binascii
from io import BytesIO
from typing import Any

from fastapi import APIRouter, Depends
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel

from service.api.caller import JobsCaller
from service.api.jobs import require_json
from service.dialects.a1111.errors import ANSWERS
from service.http.problem import Refusal

router = APIRouter()

MOST_PIXELS = 2**26
"""Of the largest image that is read."""


class Info(BaseModel):
    """The body of a request: an image, in base64."""

    image: str


@router.post("/png-info", dependencies=[Depends(require_json)], responses=ANSWERS)
async def png_info(body: Info, caller: JobsCaller) -> dict[str, Any]:
    """Return the parameters embedded in an image made by Sfumato or by AUTOMATIC1111."""
    encoded = body.image.partition(",")[2] if body.image.startswith("data:") else body.image
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(422, "invalid_request", "image is not valid base64", field="image") from error
    text, items = text_of(data)
    return {"info": text, "items": items, "parameters": {}}


def text_of(data: bytes) -> tuple[str, dict[str, str]]:
    """Return an image's parameters as text, and all its text chunks. Raises: Refusal, 422."""
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Refusal(422, "invalid_request", "the image is too large", field="image")
            items = {str(k): v for k, v in image.info.items() if isinstance(v, str)}
            exif = image.getexif().get_ifd(0x8769).get(0x9286, b"")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refusal(422, "invalid_request", "image is unreadable", field="image") from error
    if "parameters" not in items and isinstance(exif, bytes) and exif.startswith(b"UNICODE\0"):
        items["parameters"] = exif[8:].decode("utf-16-be", "replace")
    return items.get("parameters", ""), items
