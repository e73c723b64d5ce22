"""A worker's model as the store's catalogue lists it."""

from functools import lru_cache
from typing import get_args

from diffusion.errors import ScheduleError
from diffusion.model import OF_SAMPLER, ModelInfo
from diffusion.samplers.registry import SAMPLERS, SamplerInfo, compile_table, sampler_info
from diffusion.schedules.schedule import NoiseSchedule, sampling_levels
from jobs.catalogue import ModelEntry, SamplerEntry
from jobs.validation.prompt_schedule import PromptSyntax

COUNTED_STEPS = 6
FEW_STEPS = (2, 3)
"""Of which some samplers take other numbers of rows than the rule says."""
MOST_NAME_CHARS = 2**17
"""Of the names of classes; with more of them, only workers know which there are."""


def sampler_entry(
    name: str, noise_schedule: NoiseSchedule, image_tokens: int | None = None
) -> SamplerEntry:
    """Return a sampler as the catalogue lists it for a model of this schedule."""
    info = sampler_info(name)
    schedules = info.offered(noise_schedule)
    offsets = {s: _rows_offset(info, noise_schedule, s, image_tokens) for s in schedules}
    few = {s: _few_rows(info, noise_schedule, s, image_tokens, offsets[s]) for s in schedules}
    most = min(info.max_steps, noise_schedule.num_train_timesteps)
    maxima = {s: _max_steps(noise_schedule, s, most, image_tokens) for s in schedules}
    return SamplerEntry(
        name=info.name,
        title=info.title,
        stochastic=info.stochastic,
        order=info.order,
        rows_per_step=info.rows_per_step,
        rows_offset=info.rows_offset,
        uses_eta=info.eta is not None,
        default_schedule=info.usual_schedule(noise_schedule),
        rows_offsets={s: offset for s, offset in offsets.items() if offset != info.rows_offset},
        few_rows={s: rows for s, rows in few.items() if rows},
        schedules=schedules,
        max_steps=most,
        schedule_max_steps={s: steps for s, steps in maxima.items() if steps < most},
    )


@lru_cache(maxsize=64)
def _max_steps(
    noise_schedule: NoiseSchedule, schedule: str, most: int, image_tokens: int | None
) -> int:
    """Return the most steps, up to ``most``, that a schedule has levels for: one at least."""
    fits, fails = 1, most + 1
    steps = most
    while fails - fits > 1:
        try:
            sampling_levels(noise_schedule, schedule, steps, image_tokens=image_tokens)
            fits = steps
        except ScheduleError:
            fails = steps
        steps = (fits + fails) // 2
    return fits


def _rows_offset(
    info: SamplerInfo, noise_schedule: NoiseSchedule, schedule: str, image_tokens: int | None
) -> int:
    """Count the rows of a table: where levels begin or end decides about them."""
    most = min(info.max_steps, noise_schedule.num_train_timesteps)
    steps = min(COUNTED_STEPS, _max_steps(noise_schedule, schedule, most, image_tokens))
    table = compile_table(
        info.name, noise_schedule, schedule=schedule, steps=steps, image_tokens=image_tokens
    )
    return table.rows - info.rows_per_step * steps


def _few_rows(
    info: SamplerInfo,
    noise_schedule: NoiseSchedule,
    schedule: str,
    image_tokens: int | None,
    offset: int,
) -> dict[int, int]:
    """Return the rows of few steps that are not ``rows_per_step`` for each and the offset."""
    most = min(info.max_steps, noise_schedule.num_train_timesteps)
    found = {}
    for steps in FEW_STEPS:
        if steps <= _max_steps(noise_schedule, schedule, most, image_tokens):
            rows = compile_table(
                info.name, noise_schedule, schedule=schedule, steps=steps, image_tokens=image_tokens
            ).rows
            if rows != info.rows_per_step * steps + offset:
                found[steps] = rows
    return found


def model_entry(
    info: ModelInfo,
    noise_schedule: NoiseSchedule,
    *,
    units_per_s: float = 0.0,
    cold_start_s: float = 0.0,
) -> ModelEntry:
    """Return a model as the catalogue lists it, with this worker's measurements."""
    listed = sum(len(name) + 1 for name in info.class_names) <= MOST_NAME_CHARS
    return ModelEntry(
        name=info.name,
        title=info.title,
        sha256=info.sha256,
        width=info.width,
        height=info.height,
        min_side=info.min_side,
        max_side=info.max_side,
        side_multiple=info.side_multiple,
        max_pixels=info.max_pixels,
        embeds_guidance=info.embeds_guidance,
        prompt=info.prompt,
        prompt_syntaxes=get_args(PromptSyntax) if info.weights_prompts else ("plain",),
        classes=info.classes if listed else None,
        class_names=info.class_names if listed else (),
        default_steps=info.default_steps,
        default_sampler=info.default_sampler,
        default_schedule=None if info.default_schedule == OF_SAMPLER else info.default_schedule,
        default_guidance_scale=info.default_guidance_scale,
        languages=info.languages,
        examples=info.examples,
        samplers=tuple(
            sampler_entry(name, noise_schedule, info.image_tokens(info.width, info.height))
            for name, sampler in SAMPLERS.items()
            if sampler.offered(noise_schedule)
        ),
        units_per_s=round(units_per_s, 3),
        cold_start_s=round(cold_start_s, 3),
    )
