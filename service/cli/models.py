"""``sfumato models``: a service's models, and those that are installed on this machine."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.host.models import ModelsSettings, find_model
from jobs.redis.store import RedisStore
from jobs.settings import read_environment
from jobs.telemetry.text import shown
from service.api.model_removal import forget_model
from service.cli.operators.store_command import DEFAULT_DATA, DataOption, in_store
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.options import (
    DEFAULT_URL,
    ApiKeyOption,
    JsonOption,
    UrlOption,
    has_verb,
)
from service.cli.shared.table import print_table
from service.cli.shared.terminal import connected, print_error
from service.resources.representations import ModelView

app = typer.Typer()
Precision = Literal["fp32", "fp16", "int8"]
Weights = Literal["shared", "embedded"]
Prediction = Literal["epsilon", "v_prediction", "sample"]


@app.callback(invoke_without_command=True)
def models_command(
    context: typer.Context,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a service's models; manage those installed on this machine.

    Without a command, this lists the service's models, as `list` does.
    """
    if not has_verb(context):
        list_command(url, api_key, as_json)


@app.command("list")
def list_command(
    url: UrlOption = DEFAULT_URL, api_key: ApiKeyOption = None, as_json: JsonOption = False
) -> None:
    """List the models that a service offers; `installed` lists those on this machine."""
    with connected(url, api_key) as client:
        models = [ModelView(**each.model_dump()) for each in client.models().models]
    if as_json:
        print(json.dumps([model.model_dump(mode="json") for model in models], indent=2))
        return
    print_table(
        ("model", "size", "steps", "sampler", "schedule", "languages", "warm"),
        [
            (
                model.name,
                f"{model.width}x{model.height}",
                model.default_steps,
                model.default_sampler,
                model.usual_schedule(model.sampler(model.default_sampler)),
                " ".join(model.languages),
                "yes" if model.warm else "no",
            )
            for model in models
        ],
    )


def _folder(model: Path) -> Path:
    """Return the folder of a model that is given by its path or by its name."""
    try:
        folder = find_model(model, read_environment(ModelsSettings).models)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a directory")
    return folder


@app.command("export")
def export_command(
    model: Annotated[
        Path,
        typer.Argument(callback=_folder, help="An installed model's name, or a folder."),
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
    options = {"--precision": precision, "--weights": weights, "--out": out, "--threads": threads}
    _run("export", ["onnxscript", "torch"], ["model_export.onnx", str(model), *_words(options)])


def _run(extra: str, modules: Sequence[str], command: Sequence[str]) -> None:
    """Run a module in another process, since the door's environment need not have its libraries."""
    if any(find_spec(module) is None for module in modules):
        libraries = " and ".join(modules)
        print_error(f"this needs {libraries} of the extra `{extra}`: pip install '.[{extra}]'")
        raise typer.Exit(ExitCode.FAILED)
    with subprocess.Popen([sys.executable, "-m", *command]) as process:
        former = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            raise typer.Exit(_ended(process))
        finally:
            signal.signal(signal.SIGTERM, former)


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit code of a process, which hears of a terminal's interrupt by itself."""
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def _words(options: Mapping[str, object]) -> list[str]:
    """Return options as words of a command line."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f"{name}={value}")
    return words


def _here(verb: str, *words: str) -> None:
    """Run a verb of ``python -m workers.models``."""
    _run("worker", ["torch", "diffusers"], ["workers.models", verb, *words])


@app.command("add")
def add_command(
    source: Annotated[
        str, typer.Argument(help="PATH, https://…, or hf:OWNER/NAME[/FILE][@REVISION].")
    ],
    name: Annotated[str | None, typer.Option(help="Its name; default: the source's.")] = None,
    lora: Annotated[
        list[str] | None, typer.Option(metavar="FILE:WEIGHT", help="Fuse a LoRA; repeatable.")
    ] = None,
    vae: Annotated[
        Path | None, typer.Option(help="A VAE's folder or file, in place of the model's.")
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="Which of its weights, like fp16; default: the plain ones.")
    ] = None,
    prediction: Annotated[
        Prediction | None, typer.Option(help="What it predicts, if its files do not say.")
    ] = None,
    zero_snr: Annotated[
        bool, typer.Option("--zero-snr", help="It was trained with zero terminal SNR.")
    ] = False,
    ema: Annotated[
        bool, typer.Option("--ema", help="Take a single file's moving averages (EMA).")
    ] = False,
    sha256: Annotated[
        str | None, typer.Option(help="Of the file or archive; of a folder, as `show` prints it.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace an installed model of this name.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Install it without trying it.")
    ] = False,
) -> None:
    """Install a model in the directory of `SFUMATO_MODELS`.

    If it is interrupted, the same command resumes it. Only safetensors are downloaded.
    """
    options = {
        "--name": name, "--vae": vae, "--variant": variant, "--sha256": sha256,
        "--prediction": prediction, "--zero-snr": zero_snr, "--ema": ema, "--replace": replace,
        "--no-check": no_check,
    }  # fmt: skip
    _here("add", *_words(options), *(f"--lora={each}" for each in lora or ()), "--", source)


@app.command("installed")
def installed_command() -> None:
    """List the models that are installed on this machine."""
    _here("installed")


@app.command("show")
def show_command(
    model: Annotated[str, typer.Argument(help="An installed model's name, or a folder.")],
) -> None:
    """Describe a model: kind, schedule, size, memory, licence, source."""
    _here("show", "--", model)


@app.command("check")
def check_command(
    model: Annotated[str, typer.Argument(help="An installed model's name, or a folder.")],
    sha256: Annotated[str | None, typer.Option(help="As `show` prints it.")] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Compare files; do not load it.")
    ] = False,
) -> None:
    """Compare a model with what was added, and draw with it once as a worker does."""
    _here("check", *_words({"--sha256": sha256, "--files-only": files_only}), "--", model)


@app.command("remove")
def remove_command(
    name: Annotated[str, typer.Argument(help="An installed model's name.")],
) -> None:
    """Remove an installed model, or what an interrupted `add` left behind."""
    _here("remove", "--", name)


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
    print(f"{shown(name)} forgotten" + (f", {canceled} jobs canceled" if canceled else ""))
