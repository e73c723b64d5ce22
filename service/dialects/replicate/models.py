"""Models as Replicate's clients know them: ``sfumato/NAME``, with one version each."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from jobs.catalogue import ModelEntry
from jobs.errors import UnknownModel
from jobs.schema import MAX_IMAGES, MAX_STEPS, JobRequest
from jobs.telemetry.text import shown
from jobs.validation.bounds import KnownFields
from service.dialects.drawing import job_of
from service.door import Door
from service.http.problem import Refusal
from service.resources.representations import View

OWNER = "sfumato"
NO_COG = "none"  # with a number below 0.3.9, clients would take the output for an iterator
UNKNOWN = datetime.fromtimestamp(0, UTC)

Format = Literal["png", "webp", "jpg", "jpeg", "avif"]


class Input(KnownFields):
    """The input of a prediction."""

    prompt: str = Field(description="What the image should show.")
    negative_prompt: str | None = Field(None, description="What the image should not show.")
    num_inference_steps: int | None = Field(None, ge=1, le=MAX_STEPS)
    guidance_scale: float | None = None
    seed: int | None = Field(None, description="Image i has `seed` + i. Default: random.")
    width: int | None = None
    height: int | None = None
    num_outputs: int | None = Field(None, ge=1, le=MAX_IMAGES)
    output_format: Format | None = None
    scheduler: str | None = Field(None, description="A sampler from `/v1/samplers`.")

    def job(self, model: ModelEntry) -> JobRequest:
        """Return the job to create. Raises: RequestValidationError."""
        same = self.model_dump(exclude={"num_outputs", "output_format", "scheduler"})
        return job_of(
            same
            | {
                "model": model.name,
                "num_images": self.num_outputs,
                "output_format": "jpeg" if self.output_format == "jpg" else self.output_format,
                "sampler": self.scheduler,
            }
        )


class Version(View):
    """The version of a model, as workers have announced it."""

    id: str = Field(description="The SHA-256 of the model.")
    created_at: datetime = Field(description="Unknown, so 1970.")
    cog_version: str
    openapi_schema: dict[str, Any] = Field(
        description="The schemas of a prediction's input and output."
    )


class VersionList(View):
    """A model's versions; there is only one."""

    previous: None = None
    next: None = None
    results: tuple[Version, ...]


class Model(View):
    """A model as Replicate's clients expect it; unknown fields are null or 0."""

    url: str
    owner: str
    name: str
    description: str
    visibility: Literal["public"] = "public"
    github_url: None = None
    paper_url: None = None
    license_url: None = None
    run_count: int = 0
    cover_image_url: None = None
    default_example: None = None
    latest_version: Version


def version_of(model: ModelEntry) -> Version:
    """Return a model's version."""
    output = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}
    schemas = {"Input": Input.model_json_schema(), "Output": output}
    description = {
        "openapi": "3.1.0",
        "info": {"title": model.title, "version": model.sha256},
        "paths": {},
        "components": {"schemas": schemas},
    }
    return Version(
        id=model.sha256, created_at=UNKNOWN, cog_version=NO_COG, openapi_schema=description
    )


def model_view(model: ModelEntry, url: str) -> Model:
    """Return a model as clients expect it; ``url`` is its address."""
    return Model(
        url=url,
        owner=OWNER,
        name=model.name,
        description=model.title,
        latest_version=version_of(model),
    )


async def named(door: Door, owner: str, name: str) -> ModelEntry:
    """Return the model ``owner/name``. Raises: Refusal, 404."""
    try:
        if owner == OWNER:
            return await door.model(name)
    except UnknownModel:
        pass
    known = _names(await door.catalogue())
    detail = f"there is no model {shown(owner)}/{shown(name)}; available: {known}"
    raise Refusal(404, "not_found", detail)


async def of_version(door: Door, version: str) -> ModelEntry:
    """Return the model of a version: its id, ``owner/name`` or ``owner/name:id``.

    Raises:
        Refusal: 404, there is no such model.
        UnknownModel: no model has this version.
    """
    known, wanted = await door.catalogue(), version
    if "/" in version:
        reference, colon, wanted = version.partition(":")
        owner, _, name = reference.partition("/")
        known = (await named(door, owner, name),)
        if not colon:
            return known[0]
    for entry in known:
        if entry.sha256 == wanted:
            return entry
    detail = f"no model has version {shown(wanted)}; available: {_versions(known)}"
    raise UnknownModel("version", detail)


def _names(known: tuple[ModelEntry, ...]) -> str:
    return ", ".join(f"{OWNER}/{entry.name}" for entry in known) or "none"


def _versions(known: tuple[ModelEntry, ...]) -> str:
    return ", ".join(f"{OWNER}/{entry.name}:{entry.sha256}" for entry in known) or "none"
