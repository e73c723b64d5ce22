"""The models that the service knows, with their limits, as workers announce them to the store.

The catalogue outlives the workers, so the door can validate requests while none is running.
"""

import secrets
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

from jobs.errors import InvalidRequest
from jobs.schema import (
    MAX_DRAWN_SEED,
    MAX_SEED,
    PUBLIC,
    JobRequest,
    JobSpec,
    JobWarning,
    WarningCode,
)
from jobs.telemetry.text import shown
from jobs.validation.prompt_schedule import PromptSyntax, check_prompts

T = TypeVar("T")

MOST_DIGITS = 20  # of a class's number
LATER_START = {"leading", "model"}
"""Schedules that need not begin at the highest noise level."""

Positive = Annotated[int, Field(gt=0, lt=2**31)]


class SamplerEntry(BaseModel):
    """A sampler that workers offer. n > 1 steps take rows_per_step · n + an offset rows."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    stochastic: bool
    order: int
    rows_per_step: Positive
    rows_offset: int
    rows_offsets: dict[str, int] = Field(  # entries of former versions have none
        default_factory=dict, description="Offsets of schedules where it is another."
    )
    uses_eta: bool
    default_schedule: str
    few_rows: dict[str, dict[int, int]] = Field(
        default_factory=dict, description="Rows of few steps where they are others, by schedule."
    )
    schedules: tuple[str, ...]
    max_steps: Positive
    schedule_max_steps: dict[str, int] = Field(
        default_factory=dict, description="Maxima of schedules where they are lower."
    )

    def most_steps(self, schedule: str) -> int:
        """Return the most steps of a job."""
        return self.schedule_max_steps.get(schedule, self.max_steps)

    def rows(self, steps: int, schedule: str) -> int:
        """Return the UNet evaluations for one image without guidance."""
        offset = self.rows_offsets.get(schedule, self.rows_offset)
        usual = 1 if steps == 1 else self.rows_per_step * steps + offset
        return self.few_rows.get(schedule, {}).get(steps, usual)


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
    default_schedule: str | None = Field(  # entries of former versions have none
        None,
        description="The schedule of samplers that have it; null: each sampler's own default. "
        "`model` is what the model's own scheduler does.",
    )
    default_guidance_scale: float
    embeds_guidance: bool = Field(
        default=False,
        description="The network takes guidance_scale as an input: negative_prompt has no effect.",
    )
    prompt: Literal["text", "class", "none"] = Field(
        default="text",
        description="What a prompt is: text, the number or name of a class, or without effect. "
        "Only text is guided.",
    )
    prompt_syntaxes: tuple[PromptSyntax, ...] = Field(
        ("plain",), description="The accepted values of `prompt_syntax`."
    )
    classes: Positive | None = Field(  # entries of former versions have none
        None,
        description="Of a model whose prompt is a class: how many there are, numbered from 0; "
        "null: only workers know.",
    )
    class_names: tuple[str, ...] = Field(
        (), description="Their names by number: one or several with commas, or empty for none."
    )
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    samplers: tuple[SamplerEntry, ...]
    units_per_s: NonNegativeFloat = 0.0  # of one worker with full batches; 0: not measured
    cold_start_s: NonNegativeFloat = 0.0  # from process start to a ready engine; 0: not measured
    load_s: NonNegativeFloat = 0.0  # in which a worker of several models loads it
    pool: tuple[str, ...] = Field(
        default=(),
        description="The models of the workers that serve it, if these serve several.",
    )

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

    def usual_schedule(self, sampler: SamplerEntry) -> str:
        """Return the schedule of a request that names none."""
        if self.default_schedule in sampler.schedules:
            return str(self.default_schedule)
        return sampler.default_schedule


def resolve(request: JobRequest, model: ModelEntry, tenant: str = PUBLIC) -> JobSpec:
    """Fill in the defaults and the tenant, and check the request against the model's limits.

    Raises:
        InvalidRequest: the model cannot serve this request; the error names the field.
    """
    sampler = model.sampler(_given(request.sampler, model.default_sampler))
    schedule = _given(request.schedule, model.usual_schedule(sampler))
    if schedule not in sampler.schedules:
        known = ", ".join(sampler.schedules)
        raise InvalidRequest(
            "schedule",
            f"sampler {sampler.name!r} does not support schedule {schedule!r}; it has: {known}",
        )
    most = sampler.most_steps(schedule)
    steps = _given(request.num_inference_steps, min(model.default_steps, most))
    if steps > most:
        raise InvalidRequest("num_inference_steps", f"{_chosen(sampler, schedule)} {most} steps")
    if request.eta is not None and not sampler.uses_eta:
        raise InvalidRequest("eta", f"sampler {sampler.name!r} does not use eta")
    if request.prompt_syntax not in model.prompt_syntaxes:
        raise InvalidRequest(
            "prompt_syntax",
            f"this model does not support prompt_syntax {request.prompt_syntax!r}; "
            f"available: {', '.join(model.prompt_syntaxes)}",
        )
    prompts = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
    check_prompts(request.prompt_syntax, steps, **prompts)
    if model.prompt == "class" and model.classes is not None:
        _check_class(request.prompt, model.classes, model.class_names)
    width = _side("width", _given(request.width, model.width), model)
    height = _side("height", _given(request.height, model.height), model)
    if width * height > model.max_pixels:
        raise InvalidRequest(
            "width",
            f"{width}x{height} is more than {model.max_pixels} pixels; the size of {model.name} is "
            f"{model.width}x{model.height}",
        )
    fields = request.model_dump(exclude={"webhook", "durable"})  # no worker needs them
    fields |= {
        "tenant": tenant,
        "model": model.name,
        "sampler": sampler.name,
        "schedule": schedule,
        "num_inference_steps": steps,
        "guidance_scale": _guidance_scale(request, model),
        "seed": _seed(request),
        "width": width,
        "height": height,
    }
    return JobSpec.model_validate(fields)


def _check_class(prompt: str, classes: int, names: tuple[str, ...]) -> None:
    """Refuse a prompt that is neither the number nor the name of a class. Raises: InvalidRequest.

    Names are compared as workers do: of several with commas each is one, and case does not count.
    """
    given = prompt.strip()
    if given.isascii() and given.isdecimal() and len(given) < MOST_DIGITS:
        known = int(given) < classes
    else:
        wanted = given.casefold()
        known = wanted != "" and any(
            wanted == name.strip().casefold() for each in names for name in each.split(",")
        )
    if not known:
        named = ", or one of their names" if any(names) else ""
        raise InvalidRequest(
            "prompt",
            f"{shown(prompt)} is no class of this model: they are numbered from 0 to "
            f"{classes - 1}{named}",
        )


def _chosen(sampler: SamplerEntry, schedule: str) -> str:
    """Return who limits the steps, for a message."""
    if schedule in sampler.schedule_max_steps:
        return f"schedule {schedule!r} supports at most"
    return f"sampler {sampler.name!r} supports at most"


def _given(value: T | None, default: T) -> T:
    """Return what a client gave, however empty, and the default only for what it left out."""
    return default if value is None else value


def warnings(request: JobRequest, spec: JobSpec, model: ModelEntry) -> tuple[JobWarning, ...]:
    """Return what of a request has no effect on the job that it became, or was lowered."""
    sampler = model.sampler(spec.sampler)
    steps = spec.num_inference_steps
    unguided = forward_passes(spec, embeds_guidance=model.embeds_guidance) == 1
    why = _why_unguided(model)
    one_step = steps == 1
    spaced = request.schedule is not None and not LATER_START & {
        request.schedule, model.usual_schedule(sampler)
    }  # fmt: skip
    found = (
        (
            model.prompt == "none" and spec.prompt != "",
            WarningCode.PROMPT_IGNORED,
            "this model draws without a prompt, so prompt has no effect",
        ),
        (
            model.prompt != "text" and request.guidance_scale not in (None, 1.0),
            WarningCode.GUIDANCE_SCALE_IGNORED,
            f"{why}, so guidance_scale has no effect",
        ),
        (
            unguided and spec.negative_prompt != "",
            WarningCode.NEGATIVE_PROMPT_IGNORED,
            f"{why}, so negative_prompt has no effect",
        ),
        (
            unguided and spec.guidance_rescale > 0,
            WarningCode.GUIDANCE_RESCALE_IGNORED,
            f"{why}, so guidance_rescale has no effect",
        ),
        (
            one_step and spec.eta is not None,
            WarningCode.ETA_IGNORED,
            "a single step adds no noise, so eta has no effect",
        ),
        (
            one_step and spaced,
            WarningCode.SCHEDULE_IGNORED,
            "a single step is at the highest noise level, so schedule has no effect",
        ),
        (
            "preview" in request.model_fields_set and spec.preview.every >= steps,
            WarningCode.PREVIEW_IGNORED,
            f"preview {spec.preview.every} is not below the {steps} steps, so no preview is sent",
        ),
        (
            spec.preview.every == 0 and not isinstance(spec.preview.in_short, int),
            WarningCode.PREVIEW_IGNORED,
            "0 steps between previews disables them, so of and size have no effect",
        ),
        (
            request.num_inference_steps is None and steps < model.default_steps,
            WarningCode.STEPS_LOWERED,
            f"the model's default of {model.default_steps} steps was lowered: "
            f"{_chosen(sampler, spec.schedule)} {steps} steps",
        ),
    )
    return tuple(JobWarning(code=code, detail=detail) for true, code, detail in found if true)


def _guidance_scale(request: JobRequest, model: ModelEntry) -> float:
    if model.prompt != "text":
        return 1.0
    return _given(request.guidance_scale, model.default_guidance_scale)


def _why_unguided(model: ModelEntry) -> str:
    if model.prompt != "text":
        return "this model takes no text to be guided by"
    if model.embeds_guidance:
        return "this model takes guidance_scale as an input"
    return "guidance_scale 1 disables guidance"


def _seed(request: JobRequest) -> int:
    """Return the first image's seed; a drawn one leaves room for the last image's."""
    others = request.num_images - 1
    if request.seed is None:
        return secrets.randbelow(MAX_DRAWN_SEED - others + 1)
    if request.seed + others > MAX_SEED:
        raise InvalidRequest(
            "seed",
            f"image {others} would have seed {request.seed + others}, above {MAX_SEED}: lower "
            "seed or num_images",
            "num_images",
        )
    return request.seed


def _side(field: str, value: int, model: ModelEntry) -> int:
    if not model.min_side <= value <= model.max_side:
        fault = f"is not between {model.min_side} and {model.max_side}"
    elif value % model.side_multiple:
        fault = f"is not a multiple of {model.side_multiple}"
    else:
        return value
    usual = f"the size of {model.name} is {model.width}x{model.height}"
    raise InvalidRequest(field, f"{field} {value} {fault}; {usual}")


def forward_passes(spec: JobSpec, *, embeds_guidance: bool) -> int:
    """Return the forward rows of one evaluation: without guidance and where it is an input, 1."""
    return 1 if spec.guidance_scale == 1.0 or embeds_guidance else 2


def units(spec: JobSpec, model: ModelEntry) -> float:
    """Return a job's work in units; one unit is one UNet row at the model's base resolution."""
    rows = (
        model.sampler(spec.sampler).rows(spec.num_inference_steps, spec.schedule) * spec.num_images
    )
    passes = forward_passes(spec, embeds_guidance=model.embeds_guidance)
    return rows * passes * (spec.width * spec.height) / (model.width * model.height)
