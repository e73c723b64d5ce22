"""What a worker finds that a job's client should know."""

from collections.abc import Sequence

from diffusion.model import Truncation
from diffusion.parts.weighted_prompt import MOST_WEIGHT
from jobs.schema import JobWarning, WarningCode
from workers.engine.messages import Admitted


def warnings(report: Admitted) -> dict[str, JobWarning]:
    """Return the warnings about an image that has been admitted, by code."""
    cut = {
        WarningCode.PROMPT_TRUNCATED: _cut("prompt", report.prompt_cut),
        WarningCode.NEGATIVE_PROMPT_TRUNCATED: _cut("negative_prompt", report.negative_prompt_cut),
    }
    found = {code: detail for code, detail in cut.items() if detail}
    if report.at_weight_limit:
        found[WarningCode.PROMPT_WEIGHT_LIMITED] = (
            f"a weight in a prompt is at the limit of {MOST_WEIGHT:g}, or was beyond it"
        )
    if report.refused:
        found[WarningCode.STARTED_OVER] = (
            "the work of an earlier attempt was dropped: "
            "another version of the model or of the worker had begun it"
        )
    return {code: JobWarning(code=code, detail=detail) for code, detail in found.items()}


def _cut(field: str, truncations: Sequence[Truncation]) -> str:
    return "; ".join(
        f"{each.encoder} read {each.read} of the {each.tokens} tokens of {field}, "
        f"not the last {each.tokens - each.read}"
        for each in truncations
    )
