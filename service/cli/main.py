"""The command line: ``sfumato up``, ``sfumato draw``, ``sfumato demo`` and more."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from jobs.schema import PreviewOf
from jobs.telemetry.text import shown
from service.cli import demo as demonstration
from service.cli import drawing
from service.cli.bench.command import bench_command
from service.cli.completion import completion_command
from service.cli.grid.command import grid_command
from service.cli.jobs import app as jobs_app
from service.cli.models import app as models_app
from service.cli.one_line import OneLineErrors
from service.cli.operators.keys import app as keys_app
from service.cli.operators.tenants import app as tenants_app
from service.cli.operators.webhooks import app as webhooks_app
from service.cli.operators.workers import app as workers_app
from service.cli.shared.exit_codes import LEGEND, ExitCode
from service.cli.shared.options import (
    DEFAULT_URL,
    ApiKeyOption,
    FormatOption,
    GuidanceOption,
    InlineOption,
    JsonOption,
    ModelOption,
    NegativeOption,
    PriorityOption,
    SamplerOption,
    ScheduleOption,
    SeedOption,
    SizeOption,
    StepsOption,
    SyntaxOption,
    UrlOption,
    request_fields,
)
from service.cli.shared.terminal import connected, console, output_folder, print_error
from service.client.errors import ClientError
from service.local.errors import StackError
from service.local.gpus import devices_of
from service.local.stack import Door, Stack, StackOptions, running
from service.processes.folder import UnusableFolder
from service.processes.redis_server import NoRedisServer
from service.processes.supervisor import ChildFailed

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(jobs_app, name="jobs")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(tenants_app, name="tenants")
app.add_typer(workers_app, name="workers")
DoorOption = Annotated[Door, typer.Option(help="serve (Ray Serve) or uvicorn.")]


@app.callback(epilog=LEGEND)
def sfumato() -> None:
    """Sfumato: text to images, step by step."""


class Stopped(BaseException):
    """SIGTERM, SIGHUP or Ctrl-C arrived."""


def stop_on_signals() -> None:
    """Turn the first SIGTERM, SIGHUP or Ctrl-C into :class:`Stopped`; ignore any more."""
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def stop(_signum: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in signals:
        signal.signal(number, stop)


@contextmanager
def start_errors() -> Iterator[None]:
    """End the command with one line if the stack cannot be started or used."""
    try:
        yield
    except ChildFailed as error:
        print_error(str(error), *error.output)
        raise typer.Exit(ExitCode.FAILED) from error
    except (StackError, UnusableFolder, NoRedisServer, TimeoutError, ClientError) as error:
        print_error(str(error))
        raise typer.Exit(ExitCode.FAILED) from error
    except OSError as error:  # a file of the data folder is not what it should be
        print_error(f"{error.filename or 'this machine'}: {error.strerror or error}")
        raise typer.Exit(ExitCode.FAILED) from error


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the door; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[
        int | None, typer.Option(min=0, max=1024, help="Worker processes; default 1.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="A worker on each of these GPUs instead: all, or numbers such as 0,2."),
    ] = None,
    autoscale: Annotated[
        int,
        typer.Option(
            min=0, max=100_000, help="Let Ray start up to this many workers on demand; 0: off."
        ),
    ] = 0,
    slots: Annotated[
        int,
        typer.Option(
            min=1, max=1024, envvar="SFUMATO_SLOTS", help="Images a worker holds at once."
        ),
    ] = 20,
    door: DoorOption = "serve",
    data: Annotated[Path, typer.Option(help="Folder for Redis' files and logs.")] = Path("var"),
    model: Annotated[
        Path | None, typer.Option(help="A name from `sfumato models installed`, or a folder.")
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    stop_on_signals()
    try:
        with start_errors():
            if gpus and (workers is not None or autoscale):
                raise StackError(
                    "--gpus sets the number of workers: leave out --workers and --autoscale"
                )
            count, devices = 1 if workers is None else workers, devices_of(gpus) if gpus else ()
            options = StackOptions(data, host, port, count, autoscale, slots, door, model, devices)
            with running(options, report=_report) as stack:
                print(f"ready {stack.url}", flush=True)
                print(f"open {stack.url}/ in a browser to draw", flush=True)
                watch(stack)
    except Stopped:
        print("stopped", flush=True)


def _report(line: str) -> None:
    print(shown(line), file=sys.stderr, flush=True)


def watch(stack: Stack) -> None:
    """Keep the stack's processes running until a signal comes."""
    while True:
        stack.supervisor.check()
        time.sleep(0.2)


@app.command()
def draw(
    prompt: Annotated[str, typer.Argument(help="What the image should show.")],
    steps: StepsOption = None,
    sampler: SamplerOption = None,
    schedule: ScheduleOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    syntax: SyntaxOption = None,
    seed: SeedOption = None,
    n: Annotated[int | None, typer.Option("--n", help="Number of images.")] = None,
    size: SizeOption = None,
    model: ModelOption = None,
    priority: PriorityOption = None,
    output_format: FormatOption = None,
    preview: Annotated[
        PreviewOf | None, typer.Option(help="What previews show: the estimate or the noisy sample.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("out"),
    inline: InlineOption = True,
    as_json: JsonOption = False,
) -> None:
    """Draw an image and watch it take shape; Ctrl-C cancels it."""
    fields = request_fields(
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        negative=negative,
        syntax=syntax,
        size=size,
        model=model,
        schedule=schedule,
        priority=priority,
        output_format=output_format,
    )
    request = fields | {
        "prompt": prompt,
        "seed": seed,
        "num_images": n,
        "preview": None if preview is None else {"of": preview},
    }
    screen = console(stderr=as_json)
    with connected(url, api_key) as client:
        output_folder(out)
        (drawn,) = drawing.draw(client, [request], out, screen, inline=inline)
    if as_json:
        print(json.dumps(drawn.document(), indent=2))
    else:
        drawing.show([drawn], screen, inline=inline)
    if drawn.job.status != "succeeded":
        raise typer.Exit(ExitCode.FAILED)


app.command("grid")(grid_command)
app.command("bench")(bench_command)


@app.command()
def demo(
    door: DoorOption = "serve",
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("out/demo"),
) -> None:
    """Start everything, draw four images at once, stop everything."""
    stop_on_signals()
    try:
        with start_errors():
            raise typer.Exit(demonstration.run(door, out, console()))
    except Stopped as error:
        print_error("interrupted; everything is stopped")
        raise typer.Exit(ExitCode.INTERRUPTED) from error


app.command("completion")(completion_command)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
