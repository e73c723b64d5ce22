"""The models that the service knows, with their limits, as workers announce them to the store.

The catalogue outlives the workers, so the door can validate requests while none is running.
"""

import secrets
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

from jobs.errors import InvalidRequest
from jobs.schema import MAX_SEED, PUBLIC, JobRequest, JobSpec

Positive = Annotated[int, Field(gt=0, lt=2**31)]


class SamplerEntry(BaseModel):
    """A sampler that workers offer. n > 1 steps take rows_per_step · n + rows_offset rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    stochastic: bool
    order: int
    rows_per_step: Positive
    rows_offset: int
    uses_eta: bool
    default_schedule: str
    schedules: tuple[str, ...]
    max_steps: Positive

    def rows(self, steps: int) -> int:
        """Return the UNet evaluations for one image without guidance."""
        return 1 if steps == 1 else self.rows_per_step * steps + self.rows_offset


class ModelEntry(BaseModel):
    """A model as its workers announce it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    name: str
    title: str
    sha256: str
    width: Positive  # the base resolution, in pixels
    height: Positive
    min_side: Positive
    max_side: Positive
    side_multiple: Positive
    max_pixels: Positive
    default_steps: Positive
    default_sampler: str
    default_guidance_scale: float
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    samplers: tuple[SamplerEntry, ...]
    units_per_s: NonNegativeFloat = 0.0  # of one worker with full batches; 0: not measured
    cold_start_s: NonNegativeFloat = 0.0  # from process start to a ready engine; 0: not measured

    def sampler(self, name: str) -> SamplerEntry:
        """Return the sampler with this name.

        Raises:
            InvalidRequest: this model has no such sampler.
        """
        for entry in self.samplers:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.samplers)
        raise InvalidRequest("sampler", f"unknown sampler {name!r}; available: {known}")


def resolve(request: JobRequest, model: ModelEntry, tenant: str = PUBLIC) -> JobSpec:
    """Fill in the defaults and the tenant, and check the request against the model's limits.

    Raises:
        InvalidRequest: the model cannot serve this request; the error names the field.
    """
    sampler = model.sampler(request.sampler or model.default_sampler)
    schedule = request.schedule or sampler.default_schedule
    if schedule not in sampler.schedules:
        known = ", ".join(sampler.schedules)
        raise InvalidRequest(
            "schedule",
            f"sampler {sampler.name!r} does not support schedule {schedule!r}; it has: {known}",
        )
    steps = request.num_inference_steps or min(model.default_steps, sampler.max_steps)
    if steps > sampler.max_steps:
        raise InvalidRequest(
            "num_inference_steps",
            f"sampler {sampler.name!r} supports at most {sampler.max_steps} steps",
        )
    if request.eta is not None and not sampler.uses_eta:
        raise InvalidRequest("eta", f"sampler {sampler.name!r} does not use eta")
    width = _side("width", request.width or model.width, model)
    height = _side("height", request.height or model.height, model)
    if width * height > model.max_pixels:
        raise InvalidRequest("width", f"{width}x{height} is more than {model.max_pixels} pixels")
    fields = request.model_dump(exclude={"webhook", "durable"})  # no worker needs them
    fields |= {
        "tenant": tenant,
        "model": model.name,
        "sampler": sampler.name,
        "schedule": schedule,
        "num_inference_steps": steps,
        "guidance_scale": request.guidance_scale or model.default_guidance_scale,
        "seed": secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed,
        "width": width,
        "height": height,
    }
    return JobSpec.model_validate(fields)


def _side(field: str, value: int, model: ModelEntry) -> int:
    if not model.min_side <= value <= model.max_side or value % model.side_multiple:
        raise InvalidRequest(
            field,
            f"{field} {value} is not a multiple of {model.side_multiple} "
            f"between {model.min_side} and {model.max_side}",
        )
    return value


def units(spec: JobSpec, model: ModelEntry) -> float:
    """Return a job's work in units; one unit is one UNet row at the model's base resolution."""
    rows = model.sampler(spec.sampler).rows(spec.num_inference_steps) * spec.num_images
    passes = 1 if spec.guidance_scale == 1.0 else 2
    return rows * passes * (spec.width * spec.height) / (model.width * model.height)
