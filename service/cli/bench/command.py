"""The command: send the load and print the figures."""

import random
from contextlib import ExitStack
from typing import Annotated

import typer

from service.cli.bench.figures import Figures, figures, rows
from service.cli.bench.load import Load, arrivals
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.options import (
    ApiKeyOption,
    GuidanceOption,
    JsonOption,
    ModelOption,
    SamplerOption,
    SizeOption,
    StepsOption,
    finite,
    request_fields,
)
from service.cli.shared.table import print_table
from service.cli.shared.terminal import connected, console, print_error

CLIENTS = 4
LONGEST_S = 86_400.0


def bench_command(
    url: Annotated[str, typer.Argument(help="The service's address.")],
    rate: Annotated[
        float,
        typer.Option(min=0.001, max=1000.0, callback=finite, help="Jobs per second, on average."),
    ],
    duration: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=LONGEST_S, callback=finite, help="Seconds for which jobs arrive."
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Number of jobs, instead of --duration.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="The prompt of every job.")] = "a red apple",
    steps: StepsOption = None,
    sampler: SamplerOption = None,
    guidance: GuidanceOption = None,
    size: SizeOption = None,
    model: ModelOption = None,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a service under open-loop load: jobs arrive at random, however busy it is.

    Latencies run from the time a job was due to its result. Ctrl-C cancels the jobs
    in flight and prints the figures so far.
    """
    if (duration is None) == (jobs is None):
        raise typer.BadParameter("give exactly one of them", param_hint="--duration or --jobs")
    request = request_fields(
        steps=steps, sampler=sampler, guidance=guidance, negative=None, size=size, model=model
    ) | {"prompt": prompt}
    draw = random.SystemRandom()
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(url, api_key, retry_s=0)) for _ in range(CLIENTS)]
        clients[0].models()  # a wrong address or key ends the command here
        status = stack.enter_context(console(stderr=True).status(""))
        load, interrupted = Load(clients, request, status.update), False
        try:
            load.run(arrivals(rate, draw, duration_s=duration, jobs=jobs))
        except KeyboardInterrupt:
            interrupted = True
    found = figures(load.samples, load.elapsed_s)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print(found, rate)
    if code := ExitCode.INTERRUPTED if interrupted else _code(found):
        raise typer.Exit(code)


def _print(found: Figures, rate: float) -> None:
    print(f"{found.due} jobs in {found.elapsed_s:.1f} s, {rate:g} per second on average")
    print(f"{found.succeeded} succeeded, {found.pictures_per_s:g} images per second")
    print_table(("", "mean", "p50", "p99", "max"), rows(found))
    for kind, number in {**found.refused, **found.failed}.items():
        print_error(f"{number} {'refused: ' if kind in found.refused else ''}{kind}")


def _code(found: Figures) -> ExitCode:
    if found.failed:
        return ExitCode.FAILED
    return ExitCode.REFUSED if found.refused else ExitCode.DONE
