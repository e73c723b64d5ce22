"""A worker's model as the store's catalogue lists it."""

from diffusion.model import ModelInfo
from diffusion.samplers.registry import SAMPLERS, sampler_info
from jobs.catalogue import ModelEntry, SamplerEntry


def sampler_entry(name: str, num_train_timesteps: int) -> SamplerEntry:
    """Return a sampler as the catalogue lists it for a model of so many timesteps."""
    info = sampler_info(name)
    return SamplerEntry(
        name=info.name,
        title=info.title,
        stochastic=info.stochastic,
        order=info.order,
        rows_per_step=info.rows_per_step,
        rows_offset=info.rows_offset,
        uses_eta=info.eta is not None,
        default_schedule=info.default_schedule,
        schedules=tuple(info.schedules),
        max_steps=min(info.max_steps, num_train_timesteps),
    )


def model_entry(
    info: ModelInfo, *, units_per_s: float = 0.0, cold_start_s: float = 0.0
) -> ModelEntry:
    """Return a model as the catalogue lists it, with this worker's measurements."""
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
        default_steps=info.default_steps,
        default_sampler=info.default_sampler,
        default_guidance_scale=info.default_guidance_scale,
        languages=info.languages,
        examples=info.examples,
        samplers=tuple(sampler_entry(name, info.num_train_timesteps) for name in SAMPLERS),
        units_per_s=round(units_per_s, 3),
        cold_start_s=round(cold_start_s, 3),
    )
