"""Requests of fal's clients: a model's arguments, and the headers sent with them."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Path
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from jobs.schema import MAX_IMAGES, MAX_STEPS, JobRequest, OutputFormat
from jobs.validation.bounds import KnownFields
from service.dialects.drawing import job_of
from service.http.problem import Refusal, printable

OWNERS = ("fal-ai", "sfumato")
SIZES = {
    "square_hd": (1024, 1024), "square": (512, 512),
    "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768), "landscape_16_9": (1024, 576),
}  # fmt: skip
"""fal's size names → width and height in pixels."""


class Size(KnownFields):
    """A size in pixels."""

    width: int
    height: int


def _size_of_name(given: object) -> object:
    if not isinstance(given, str):
        return given
    if given not in SIZES:
        raise PydanticCustomError(
            "image_size", "'{given}' is neither a width and a height nor one of {names}",
            {"given": printable(given)[:64], "names": ", ".join(SIZES)},
        )  # fmt: skip
    width, height = SIZES[given]
    return Size(width=width, height=height)


ImageSize = Annotated[
    Size, BeforeValidator(_size_of_name, json_schema_input_type=Literal[*SIZES] | Size)
]


class Arguments(KnownFields):
    """The arguments of a model; any others are refused, not ignored."""

    prompt: str
    negative_prompt: str | None = None
    image_size: ImageSize | None = Field(None, description="A size's name, or a width and height.")
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = None
    seed: int | None = None
    num_images: int | None = Field(None, ge=1, le=MAX_IMAGES)
    sync_mode: bool | None = Field(None, description="Return images as data URLs instead of links.")
    output_format: OutputFormat | None = None
    scheduler: str | None = Field(None, description="A sampler from `/v1/samplers`.")
    acceleration: Literal["none"] | None = None
    enable_safety_checker: Literal[False] | None = None
    expand_prompt: Literal[False] | None = None
    loras: list[Any] | None = Field(None, max_length=0)
    embeddings: list[Any] | None = Field(None, max_length=0)

    def job(self, model: str, terms: dict[str, Any], preview: int) -> JobRequest:
        """Return the job to create. Raises: RequestValidationError."""
        given = self.model_dump(
            include={
                "prompt", "negative_prompt", "num_inference_steps", "guidance_scale", "seed",
                "num_images", "output_format",
            }
        )  # fmt: skip
        given |= {"model": model, "sampler": self.scheduler, "preview": preview} | terms
        if self.image_size is not None:
            given |= self.image_size.model_dump()
        if self.sync_mode:
            given["metadata"] = {"sync_mode": "true"}  # read when its result is requested
        return job_of(given)


async def model_of_app(
    owner: Annotated[str, Path(json_schema_extra={"enum": list(OWNERS)})],
    model: Annotated[str, Path(description="A model from `/v1/models`.")],
) -> str:
    """Return the model of an application. Raises: Refusal, 404."""
    if owner not in OWNERS:
        detail = f"unknown application '{owner}/{model}': the owner is one of {', '.join(OWNERS)}"
        raise Refusal(404, "unknown_model", detail)
    return model


async def terms_of_headers(
    x_fal_queue_priority: Annotated[Literal["normal", "low"] | None, Header()] = None,
    x_fal_request_timeout: Annotated[
        float | None, Header(description="Seconds from now after which the request expires.")
    ] = None,
) -> dict[str, Any]:
    """Return the fields of a job that fal's clients send as headers."""
    return {"priority": x_fal_queue_priority, "deadline_s": x_fal_request_timeout}


App = Annotated[str, Depends(model_of_app)]
Terms = Annotated[dict[str, Any], Depends(terms_of_headers)]
