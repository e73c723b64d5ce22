"""``sfumato models``: what is served, exporting a model for ONNX Runtime, forgetting one."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from jobs.redis_store import RedisStore
from service.client import Client
from service.client_errors import ClientError, ConnectionFailed
from service.model_removal import forget_model
from service.store_command import DEFAULT_DATA, DataOption, run_or_complain, store_settings
from service.terminal import DEFAULT_URL, ApiKeyOption, complain

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("list")
def list_command(
    url: Annotated[str, typer.Option(help="The service's address.")] = DEFAULT_URL,
    api_key: ApiKeyOption = None,
) -> None:
    """List the models that a service offers."""
    try:
        with Client(url, api_key=api_key) as client:
            models = client.models().models
    except ConnectionFailed as error:
        complain(f"nobody answers at {url}; start the service with `sfumato up`")
        raise typer.Exit(1) from error
    except ClientError as error:
        complain(str(error))
        raise typer.Exit(1) from error
    table = Table("model", "size", "steps", "sampler", "languages", box=None)
    for model in models:
        table.add_row(
            model.name,
            f"{model.width}x{model.height}",
            str(model.default_steps),
            model.default_sampler,
            " ".join(model.languages),
        )
    Console().print(table)


@app.command("export")
def export_command(
    model: Annotated[Path, typer.Argument(help="A bundle in the diffusers layout.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    weights: Annotated[
        str | None, typer.Option(help="shared with the bundle, or embedded in the graph.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Another folder, for other programs.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of the measurement, 1 unless said.")
    ] = None,
) -> None:
    """Export a bundle to ONNX and verify it: `python -m model_export.onnx`."""
    # The door's environment has neither torch nor the exporter; what exports is another program.
    if find_spec("onnxscript") is None or find_spec("torch") is None:
        complain("exporting needs the extra `export`: pip install '.[export]'")
        raise typer.Exit(1)
    command = [sys.executable, "-m", "model_export.onnx", str(model), "--precision", precision]
    for name, value in (("--weights", weights), ("--out", out), ("--threads", threads)):
        command += [name, str(value)] if value is not None else []
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command("forget")
def forget_command(
    name: Annotated[str, typer.Argument(help="A model that no worker serves any more.")],
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel what waits for it.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Take a model out of the catalogue, so that requests for it are refused.

    It talks to the Redis of `SFUMATO_REDIS_URL`, or to that of a running `sfumato up`.
    """

    async def forget() -> int:
        store = RedisStore(store_settings(data))
        try:
            return await forget_model(store, name, cancel=cancel)
        finally:
            await store.close()

    canceled = run_or_complain(forget())
    print(f"{name} forgotten" + (f", {canceled} jobs cancelled" if canceled else ""))
