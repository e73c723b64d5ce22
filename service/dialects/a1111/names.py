"""AUTOMATIC1111's names for samplers and schedules, in every spelling that clients send."""

from jobs.catalogue import ModelEntry, SamplerEntry
from service.http.problem import Refusal

AUTOMATIC = "automatic"
SCHEDULERS = {
    "uniform": ("Uniform", "linspace"),
    "karras": ("Karras", "karras"),
    "exponential": ("Exponential", "exponential"),
    "sgm_uniform": ("SGM Uniform", "sgm_uniform"),
    "simple": ("Simple", "trailing"),
    "ddim": ("DDIM", "leading"),
    "beta": ("Beta", "beta"),
}
"""Its name of a schedule → its label, and ours."""


def sampler_of(model: ModelEntry, name: str) -> tuple[SamplerEntry, str | None]:
    """Return the sampler with this name, and the schedule that the name ends in, if any.

    Raises:
        Refusal: 404, the model has no such sampler.
    """
    wanted = name.strip().casefold()
    known = {each.title.casefold(): each for each in model.samplers}
    known |= {each.name.casefold(): each for each in model.samplers}
    if wanted in known:
        return known[wanted], None
    for label, schedule in SCHEDULERS.values():  # "DPM++ 2M Karras", as before version 1.9
        rest = wanted.removesuffix(f" {label.casefold()}")
        if rest != wanted and rest in known:
            return known[rest], schedule
    titles = ", ".join(each.title for each in model.samplers)
    raise Refusal(
        404, "not_found", f"Sampler not found: {name[:64]!r}; available: {titles}",
        field="sampler_name",
    )  # fmt: skip


def schedule_of(name: str | None) -> str | None:
    """Return our name for a schedule; None for the default one. Raises: Refusal, 404."""
    wanted = (name or AUTOMATIC).strip().casefold()
    if wanted == AUTOMATIC:
        return None
    for theirs, (label, ours) in SCHEDULERS.items():
        if wanted in (theirs, label.casefold()):
            return ours
    available = ", ".join((AUTOMATIC, *SCHEDULERS))
    raise Refusal(
        404, "not_found", f"Scheduler not found: {wanted[:64]!r}; available: {available}",
        field="scheduler",
    )  # fmt: skip
