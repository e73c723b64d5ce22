"""``sfumato models``: list models, export one for ONNX Runtime, forget one."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.redis.store import RedisStore
from jobs.telemetry.text import shown
from service.api.model_removal import forget_model
from service.cli.store_command import DEFAULT_DATA, DataOption, in_store
from service.cli.table import print_table
from service.cli.terminal import DEFAULT_URL, ApiKeyOption, UrlOption, connected, print_error

app = typer.Typer(no_args_is_help=True, help=__doc__)
Precision = Literal["fp32", "fp16", "int8"]
Weights = Literal["shared", "embedded"]


@app.command("list")
def list_command(url: UrlOption = DEFAULT_URL, api_key: ApiKeyOption = None) -> None:
    """List the models that a service offers."""
    with connected(url, api_key) as client:
        models = client.models().models
    print_table(
        ("model", "size", "steps", "sampler", "schedule", "languages"),
        [
            (
                model.name,
                f"{model.width}x{model.height}",
                model.default_steps,
                model.default_sampler,
                model.usual_schedule(model.sampler(model.default_sampler)),
                " ".join(model.languages),
            )
            for model in models
        ],
    )


@app.command("export")
def export_command(
    model: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="A bundle in the diffusers layout."),
    ],
    precision: Annotated[Precision, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    weights: Annotated[
        Weights | None, typer.Option(help="shared with the bundle, or embedded in the graph.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Export to this folder, for other programs."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the measurement; default 1.")
    ] = None,
) -> None:
    """Export a bundle to ONNX and verify it: `python -m model_export.onnx`."""
    # The door's environment has neither torch nor the exporter, so another process exports.
    if find_spec("onnxscript") is None or find_spec("torch") is None:
        print_error("exporting needs the extra `export`: pip install '.[export]'")
        raise typer.Exit(1)
    command = [sys.executable, "-m", "model_export.onnx", str(model), "--precision", precision]
    for name, value in (("--weights", weights), ("--out", out), ("--threads", threads)):
        command += [name, str(value)] if value is not None else []
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command("forget")
def forget_command(
    name: Annotated[str, typer.Argument(help="A model that no worker serves any more.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel jobs that wait for it.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Remove a model from the catalogue, so that requests for it are refused.

    It uses the Redis of `SFUMATO_REDIS_URL`, or that of a running `sfumato up`.
    """
    canceled = in_store(RedisStore, data, lambda store: forget_model(store, name, cancel=cancel))
    print(f"{shown(name)} forgotten" + (f", {canceled} jobs cancelled" if canceled else ""))
