"""``sfumato jobs``: what is queued, running and done; watch, finish, cancel and delete it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from jobs.telemetry.text import shown
from service.cli import drawing
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.options import (
    DEFAULT_URL,
    ApiKeyOption,
    InlineOption,
    JsonOption,
    UrlOption,
)
from service.cli.shared.table import print_table
from service.cli.shared.terminal import connected, console, output_folder, print_error
from service.client.client import Sfumato
from service.client.views import JobStatus, JobView

app = typer.Typer(no_args_is_help=True, help="List, show, watch, finish, cancel and delete jobs.")
IdArgument = Annotated[str, typer.Argument(help="The job's id, from `sfumato jobs list`.")]
IdsArgument = Annotated[list[str], typer.Argument(help="The jobs' ids.")]
PROMPT_CHARS = 40
PAGE = 100  # the maximum of the service


@app.command("list")
def list_command(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="List at most this many.")] = 20,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with connected(url, api_key) as client:
        found = list(_newest(client, status, limit))
    if as_json:
        print(json.dumps([job.model_dump(mode="json") for job in found], indent=2))
        return
    print_table(
        ("job", "status", "progress", "model", "created", "prompt"),
        [
            (
                job.id,
                job.status,
                f"{job.progress.step}/{job.progress.total}",
                job.request.model,
                f"{job.created_at:%Y-%m-%d %H:%M:%SZ}",
                _short(job.request.prompt),
            )
            for job in found
        ],
    )


def _newest(client: Sfumato, status: JobStatus | None, limit: int) -> Iterator[JobView]:
    cursor: str | None = None
    while limit > 0:
        page = client.jobs(status=status, limit=min(limit, PAGE), cursor=cursor)
        yield from page.jobs
        for each in page.unreadable:
            print_error(f"job {each.id} cannot be read: {each.detail}")
        limit -= len(page.jobs) + len(page.unreadable)
        cursor = page.cursor
        if cursor is None:
            return


def _short(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= PROMPT_CHARS else f"{line[: PROMPT_CHARS - 1]}…"


@app.command("show")
def show_command(
    job: IdArgument,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a job."""
    with connected(url, api_key) as client:
        found = client.get(job)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    request = found.request
    rows = [
        ("job", found.id),
        ("status", found.status),
        ("progress", f"{found.progress.step} of {found.progress.total} steps"),
        ("prompt", request.prompt),
        ("negative prompt", request.negative_prompt),
        ("model", request.model),
        ("sampler", f"{request.sampler}, {request.schedule}, {request.num_inference_steps} steps"),
        ("guidance", f"{request.guidance_scale:g}"),
        ("seed", request.seed),
        ("size", f"{request.width}x{request.height}"),
        ("created", f"{found.created_at:%Y-%m-%d %H:%M:%SZ}"),
        ("attempts", found.attempts),
        ("queue position", found.queue_position),
        ("seconds left", found.eta_s),
        ("ended early at step", found.finished_early),
        ("error", found.error and f"{found.error.code}: {found.error.detail}"),
        *((f"image {image.index}", image.url) for image in found.images),
        *(("warning", f"{each.detail} ({each.code})") for each in found.warnings),
    ]
    print_table(("", ""), [(name, value) for name, value in rows if value not in (None, "")])


@app.command("watch")
def watch_command(
    jobs: IdsArgument,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("out"),
    inline: InlineOption = True,
    as_json: JsonOption = False,
) -> None:
    """Watch jobs take shape and save their images; Ctrl-C leaves them running."""
    screen = console(stderr=as_json)
    with connected(url, api_key) as client:
        output_folder(out)
        found = [drawing.Drawing(client, client.get(job)) for job in dict.fromkeys(jobs)]
        drawing.follow(found, out, screen, inline=inline)
    if as_json:
        print(json.dumps([each.document() for each in found], indent=2))
    else:
        drawing.show(found, screen, inline=inline)
    if any(each.job.status != JobStatus.SUCCEEDED for each in found):
        raise typer.Exit(ExitCode.FAILED)


@app.command("finish")
def finish_command(
    jobs: IdsArgument,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """End running jobs at their current step, with their estimates as their images."""
    _each(jobs, url, api_key, Sfumato.finish, "ends now", as_json=as_json)


@app.command("cancel")
def cancel_command(
    jobs: IdsArgument,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel jobs that have not ended."""
    _each(jobs, url, api_key, Sfumato.cancel, "is canceled", JobStatus.CANCELED, as_json=as_json)


@app.command("delete")
def delete_command(
    jobs: IdsArgument,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete jobs and their images, canceling those that have not ended."""
    _each(jobs, url, api_key, Sfumato.delete, "is deleted", as_json=as_json)


def _each(
    jobs: list[str],
    url: str,
    api_key: str | None,
    call: Callable[[Sfumato, str], JobView | None],
    done: str,
    wanted: JobStatus | None = None,
    *,
    as_json: bool,
) -> None:
    """Make a call for each job; print the outcome, or how the job has ended if not ``wanted``."""
    with connected(url, api_key) as client:
        for job in jobs:
            found = call(client, job)
            if as_json:
                print(json.dumps({"id": job, "status": found.status if found else "deleted"}))
                continue
            over = found is not None and found.status.ended and found.status != wanted
            print(f"{shown(job)} {f'has ended: {found.status}' if found and over else done}")
