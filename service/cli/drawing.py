"""Submit prompts, show progress and previews in the terminal, save the images."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobs.telemetry.text import shown
from service.cli.shared.background import canceled_on_interrupt, in_background, submitted
from service.cli.shared.encoding import is_unicode
from service.cli.shared.picture_files import create, save
from service.cli.shared.terminal import finished, print_warning, progress, shows_images
from service.client.client import Sfumato
from service.client.views import JobView

FRAMES_PER_SECOND = 8


@dataclass
class Drawing:
    """A job that is being followed."""

    client: Sfumato
    job: JobView
    step: int = 0
    eta_s: float | None = None
    previews: list[bytes] = field(default_factory=list)  # of the first image, oldest first
    files: list[Path] = field(default_factory=list)

    @property
    def label(self) -> str:
        """A line that identifies the job."""
        request = self.job.request
        return f"{request.prompt}, {request.sampler}, {request.num_inference_steps} steps"

    @property
    def note(self) -> str:
        """The job's state in a few words."""
        if self.job.error is not None:
            return self.job.error.detail
        if self.job.status == "running" and self.eta_s is not None:
            return f"{self.eta_s:.1f} s left"
        return str(self.job.status)

    def document(self) -> dict[str, Any]:
        """Return the job as JSON, with the ``files`` that its images were saved in."""
        return self.job.model_dump(mode="json") | {"files": [str(path) for path in self.files]}

    def follow(self, out: Path) -> None:
        """Follow the job until it ends, and save its images."""
        for event in self.client.follow(self.job.id):
            if event.kind == "progress":
                self.step, self.eta_s = event.step, event.eta_s
            elif event.kind == "preview":
                self.previews += [event.data] if event.image == 0 else []
            else:
                self.job = event.job
                self.step = max(self.step, self.job.progress.step)
        self.job = self.client.get(self.job.id)
        self._save(out)

    def _save(self, out: Path) -> None:
        for image in self.job.images:
            data = self.client.image(self.job.id, image.index)
            self.files.append(save(out, self.job, image, data))

    def filmstrip(self, path: Path, frames: int = 8) -> None:
        """Save the previews and the finished image side by side in a new PNG file."""
        last = len(self.previews) - 1
        count = min(frames, len(self.previews))
        chosen = [self.previews[round(n * last / max(1, count - 1))] for n in range(count)]
        images = [Image.open(BytesIO(data)).convert("RGB") for data in chosen]
        images.append(Image.open(self.files[0]).convert("RGB"))
        width, height = images[-1].size
        strip = Image.new("RGB", (width * len(images), height), "white")
        for number, image in enumerate(images):
            strip.paste(image, (number * width, 0))
        encoded = BytesIO()
        strip.save(encoded, "PNG")
        create(path, encoded.getvalue())


def draw(
    client: Sfumato,
    requests: Sequence[dict[str, Any]],
    out: Path,
    console: Console,
    *,
    inline: bool = True,
) -> list[Drawing]:
    """Submit all requests, follow them concurrently, and save their images.

    Ctrl-C cancels the jobs.

    Raises:
        ClientError: a request was refused, or the door went away.
    """
    drawings: list[Drawing] = []
    ids: list[str] = []
    with canceled_on_interrupt(client, ids):
        for request in requests:
            drawings.append(Drawing(client, submitted(client, ids, request)))
        return follow(drawings, out, console, inline=inline)


def follow(
    drawings: list[Drawing], out: Path, console: Console, *, inline: bool = True
) -> list[Drawing]:
    """Follow jobs concurrently until they end, and save their images.

    ``inline``: show previews if the terminal can.

    Raises:
        ClientError: the door went away, or a job was deleted.
    """
    following = [in_background(partial(drawing.follow, out)) for drawing in drawings]
    if console.is_terminal:
        _show_live(drawings, following, console, inline=inline and shows_images(console))
    else:
        _print_lines(drawings, following, console)
    for future in following:
        future.result()
    warn(drawings)
    return drawings


def warn(drawings: Sequence[Drawing]) -> None:
    """Print the jobs' warnings on stderr."""
    for drawing in drawings:
        for warning in drawing.job.warnings:
            print_warning(f"{warning.detail} ({warning.code})")


def _show_live(
    drawings: list[Drawing], following: list[Future[None]], console: Console, *, inline: bool
) -> None:
    with Live(console=console, refresh_per_second=FRAMES_PER_SECOND, transient=True) as live:
        while _pending(following):
            panels = [
                progress(
                    drawing.label,
                    drawing.step,
                    drawing.job.progress.total,
                    drawing.note,
                    drawing.previews[-1] if inline and drawing.previews else None,
                    plain=not is_unicode(console.encoding),
                )
                for drawing in drawings
            ]
            live.update(Columns(panels, padding=(1, 2)))


def _print_lines(drawings: list[Drawing], following: list[Future[None]], console: Console) -> None:
    printed: dict[int, int] = {}
    full, empty = "█░" if is_unicode(console.encoding) else "#-"
    while _pending(following):
        for number, drawing in enumerate(drawings):
            tenth = 10 * drawing.step // max(1, drawing.job.progress.total)
            if tenth > printed.get(number, -1):
                printed[number] = tenth
                blocks = full * tenth + empty * (10 - tenth)
                steps = f"{drawing.step:>4}/{drawing.job.progress.total}"
                console.print(f"{blocks} {steps}  {shown(drawing.label)}")


def _pending(following: list[Future[None]]) -> bool:
    """Wait for the next frame; return whether any job is still being followed."""
    running = [future for future in following if not future.done()]
    wait(running, 1 / FRAMES_PER_SECOND, FIRST_COMPLETED)
    return bool(running)


def show(drawings: Sequence[Drawing], console: Console, *, inline: bool = True) -> None:
    """Print the outcome of each job; ``inline``: with its images if the terminal can show them."""
    for drawing in drawings:
        job = drawing.job
        if job.status != "succeeded":
            reason = f" {drawing.label}: {drawing.note}"
            console.print(Text(job.status, "bold red").append(shown(reason), "default not bold"))
            continue
        for path, image in zip(drawing.files, job.images, strict=True):
            if inline and shows_images(console):
                console.print(finished(path.read_bytes(), console))
            seconds = f"{job.timings.running_s:.2f} s, seed {image.seed}"
            line = Text("saved", "bold green").append(f" {shown(path)}  ", "default not bold")
            console.print(line.append(shown(f"{drawing.label}, {seconds}"), "default dim not bold"))
