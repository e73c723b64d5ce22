"""Options that several commands share, and the fields of a job that they set."""

import re
from math import isfinite
from typing import Annotated, Any

import typer

from jobs.schema import OutputFormat, Priority
from jobs.validation.prompt_schedule import PromptSyntax

DEFAULT_URL = "http://127.0.0.1:8000"
UrlOption = Annotated[
    str,
    typer.Option("--url", envvar="SFUMATO_URL", help="The service's address.", show_envvar=True),
]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="SFUMATO_API_KEY", help="API key, if the service requires one.",
        show_envvar=True, show_default=False,
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
InlineOption = Annotated[
    bool, typer.Option("--inline/--no-inline", help="Show images in the terminal.")
]


def finite(value: float | None) -> float | None:
    """Return an option's number. Raises: typer.BadParameter, it is infinite or NaN."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def parse_size(size: str | None) -> tuple[int | None, int | None]:
    """Return width and height of ``WIDTHxHEIGHT``. Raises: typer.BadParameter."""
    if size is None:
        return None, None
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
    if match is None:
        raise typer.BadParameter(f"{size!r} is not WIDTHxHEIGHT, like 64x64", param_hint="--size")
    return int(match[1]), int(match[2])


StepsOption = Annotated[int | None, typer.Option("--steps", help="Sampling steps, 1 to 1000.")]
SamplerOption = Annotated[str | None, typer.Option("--sampler", help="A name from /v1/samplers.")]
ScheduleOption = Annotated[
    str | None, typer.Option("--schedule", help="Noise levels, a name from /v1/samplers.")
]
GuidanceOption = Annotated[
    float | None,
    typer.Option("--guidance", callback=finite, help="Guidance scale; 1: no guidance."),
]
NegativeOption = Annotated[
    str | None, typer.Option("--negative", help="What the image should not show.")
]
SyntaxOption = Annotated[
    PromptSyntax | None,
    typer.Option("--syntax", help="How to read brackets in prompts; plain: as text."),
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", help="Seed; the same seed draws the same image.")
]
SizeOption = Annotated[str | None, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="A name from /v1/models.")]
PriorityOption = Annotated[
    Priority | None, typer.Option("--priority", help="Which of your jobs go first.")
]
FormatOption = Annotated[
    OutputFormat | None, typer.Option("--format", help="The format of the images.")
]


def request_fields(
    *,
    steps: int | None,
    sampler: str | None,
    guidance: float | None,
    negative: str | None,
    size: str | None,
    model: str | None,
    syntax: str | None = None,
    schedule: str | None = None,
    priority: str | None = None,
    output_format: str | None = None,
) -> dict[str, Any]:
    """Return a job's fields under the service's names; the service fills in those that are None.

    Raises:
        typer.BadParameter: the size is not one.
    """
    width, height = parse_size(size)
    return {
        "num_inference_steps": steps, "sampler": sampler, "guidance_scale": guidance,
        "negative_prompt": negative, "width": width, "height": height, "model": model,
        "prompt_syntax": syntax, "schedule": schedule, "priority": priority,
        "output_format": output_format,
    }  # fmt: skip


def has_verb(context: typer.Context) -> bool:
    """Return whether a verb follows a group's name. Raises: typer.BadParameter, options precede."""
    if context.invoked_subcommand is None:
        return False
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            hint = "--" + name.replace("as_", "").replace("_", "-")
            raise typer.BadParameter(
                f"put options after {context.invoked_subcommand!r}", param_hint=hint
            )
    return True
