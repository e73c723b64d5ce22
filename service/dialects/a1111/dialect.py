"""The dialect: its routes under ``/sdapi/v1``."""

import re

from fastapi import APIRouter
from fastapi.responses import Response

from service.api.caller import JobsCaller
from service.dialects.a1111 import lists, png_info, progress, text_to_image
from service.dialects.a1111.errors import ANSWERS, refused
from service.dialects.dialect import Dialect
from service.http.problem import Refusal

router = APIRouter(prefix="/sdapi/v1", tags=["AUTOMATIC1111"])
for part in (text_to_image, progress, lists, png_info):
    router.include_router(part.router)


@router.post("/img2img", summary="Not supported", responses=ANSWERS)
@router.post("/extra-single-image", summary="Not supported", responses=ANSWERS)
@router.post("/extra-batch-images", summary="Not supported", responses=ANSWERS)
@router.post("/interrogate", summary="Not supported", responses=ANSWERS)
async def refuse(caller: JobsCaller) -> Response:
    """Refuse what the service does not support."""
    raise Refusal(501, "not_supported", "images are generated from prompts only")


AUTOMATIC1111 = Dialect("automatic1111", router, re.compile(r"/sdapi/v1/.*", re.DOTALL), refused)
