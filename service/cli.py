"""The command line: ``sfumato up``, ``sfumato draw``, ``sfumato demo``."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from service.stack import Door, Stack, StackError, StackOptions, running
from service.supervisor import ChildFailed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA = Path("var")


@app.callback()
def sfumato() -> None:
    """Sfumato: text to pictures, step by step."""


class Stopped(BaseException):
    """SIGTERM or Ctrl-C arrived."""


def stop_on_signals() -> None:
    """Turn the first SIGTERM, SIGHUP or Ctrl-C into :class:`Stopped`; ignore any more."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def complain(message: str) -> None:
    """Tell a person what went wrong, on stderr."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]sfumato:[/] {message}", highlight=False)


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the door; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes.")] = 1,
    slots: Annotated[int, typer.Option(min=1, help="Pictures a worker holds at once.")] = 16,
    door: Annotated[str, typer.Option(help="serve (Ray Serve) or uvicorn.")] = "serve",
    data: Annotated[Path, typer.Option(help="Folder for Redis' files and logs.")] = DEFAULT_DATA,
) -> None:
    """Run the whole service on this machine until Ctrl-C."""
    if door not in ("serve", "uvicorn"):
        raise typer.BadParameter(f"{door!r} is neither serve nor uvicorn", param_hint="--door")
    chosen: Door = "serve" if door == "serve" else "uvicorn"
    options = StackOptions(data, host, port, workers, slots, chosen)
    stop_on_signals()
    try:
        with running(options, tell=lambda line: print(line, file=sys.stderr, flush=True)) as stack:
            print(f"ready {stack.url}", flush=True)
            watch(stack)
    except Stopped:
        print("stopped", flush=True)
    except (StackError, ChildFailed, TimeoutError) as error:
        complain(str(error))
        raise typer.Exit(1) from error


def watch(stack: Stack) -> None:
    """Keep the stack's parts running until a signal comes."""
    while True:
        stack.supervisor.check()
        time.sleep(0.2)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
