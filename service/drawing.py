"""Submit prompts, watch the pictures take shape in the terminal, save them."""

import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from rich.columns import Columns
from rich.console import Console
from rich.live import Live

from service.client import Client
from service.client_errors import ClientError
from service.representations import JobView
from service.terminal import finished, taking_shape

FRAMES_A_SECOND = 8
EXTENSIONS = {"image/png": "png", "image/webp": "webp"}


@dataclass
class Drawing:
    """One job as it is being followed."""

    client: Client
    job: JobView
    step: int = 0
    eta_s: float | None = None
    previews: list[bytes] = field(default_factory=list)  # of the first picture, oldest first
    files: list[Path] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the job draws."""
        request = self.job.request
        return f"{request.prompt} · {request.sampler} · {request.num_inference_steps} steps"

    @property
    def note(self) -> str:
        """How the job is doing, in a word or two."""
        if self.job.error is not None:
            return self.job.error.detail
        if self.job.status == "running" and self.eta_s is not None:
            return f"{self.eta_s:.1f} s left"
        return str(self.job.status)

    def follow(self, out: Path) -> JobView:
        """Follow the job to its end and save its pictures."""
        for event in self.client.follow(self.job.id):
            if event.kind in ("status", "result"):
                self.job = event.job()
                self.step = max(self.step, self.job.progress.step)
            elif event.kind == "progress":
                self.step = event.data["step"]
                self.eta_s = event.data.get("eta_s")
            elif event.data["image"] == 0:
                self.previews.append(event.picture())
        self.job = self.client.get(self.job.id)
        for image in self.job.images:
            name = f"{slug(self.job.request.prompt)}-{image.seed}"
            name += f"-{image.index}" if self.job.request.num_images > 1 else ""
            path = out / f"{name}.{EXTENSIONS[image.content_type]}"
            out.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.client.image(self.job.id, image.index))
            self.files.append(path)
        return self.job

    def filmstrip(self, path: Path, frames: int = 8) -> None:
        """Save the previews and the picture side by side: from blurred to clear."""
        last = len(self.previews) - 1
        count = min(frames, len(self.previews))
        chosen = [self.previews[round(n * last / max(1, count - 1))] for n in range(count)]
        pictures = [Image.open(BytesIO(data)).convert("RGB") for data in chosen]
        pictures.append(Image.open(self.files[0]).convert("RGB"))
        width, height = pictures[-1].size
        strip = Image.new("RGB", (width * len(pictures), height), "white")
        for number, picture in enumerate(pictures):
            strip.paste(picture, (number * width, 0))
        strip.save(path)


def slug(prompt: str) -> str:
    """Return a prompt as part of a file's name."""
    words = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-_")
    return words[:48] or "picture"


def draw(
    client: Client, requests: Sequence[dict[str, Any]], out: Path, console: Console
) -> list[Drawing]:
    """Submit all requests, follow them side by side, and save the pictures.

    Raises:
        ClientError: a request was refused, or the door went away.
    """
    drawings = [Drawing(client, client.submit(**request)) for request in requests]
    with ThreadPoolExecutor(len(drawings)) as threads:
        following = [threads.submit(drawing.follow, out) for drawing in drawings]
        if console.is_terminal:
            _live(drawings, following, console)
        else:
            _lines(drawings, following, console)
        for future in following:
            future.result()
    return drawings


def _live(drawings: list[Drawing], following: list[Future[JobView]], console: Console) -> None:
    with Live(console=console, refresh_per_second=FRAMES_A_SECOND, transient=True) as live:
        while any(not future.done() for future in following):
            live.update(
                Columns(
                    [
                        taking_shape(
                            drawing.label,
                            drawing.step,
                            drawing.job.progress.total,
                            drawing.note,
                            drawing.previews[-1] if drawing.previews else None,
                        )
                        for drawing in drawings
                    ],
                    padding=(1, 2),
                )
            )
            _pause(following)


def _lines(drawings: list[Drawing], following: list[Future[JobView]], console: Console) -> None:
    told: dict[int, int] = {}
    while any(not future.done() for future in following):
        for number, drawing in enumerate(drawings):
            tenth = 10 * drawing.step // max(1, drawing.job.progress.total)
            if tenth > told.get(number, -1):
                told[number] = tenth
                blocks = "█" * tenth + "░" * (10 - tenth)
                shown = f"{blocks} {drawing.step:>4}/{drawing.job.progress.total}"
                console.print(f"{shown}  {drawing.label}", highlight=False, soft_wrap=True)
        _pause(following)


def _pause(following: list[Future[JobView]]) -> None:
    for future in following:
        if not future.done():
            try:
                future.result(1 / FRAMES_A_SECOND)
            except TimeoutError:
                pass
            except ClientError:
                return  # raised again once all have been followed
            return


def show(drawings: Sequence[Drawing], console: Console) -> None:
    """Print what became of each job, with its pictures where the terminal can show them."""
    for drawing in drawings:
        job = drawing.job
        if job.status != "succeeded":
            console.print(f"[bold red]{job.status}[/] {drawing.label}: {drawing.note}")
            continue
        for path in drawing.files:
            if console.is_terminal:
                console.print(finished(path.read_bytes(), console))
            seconds = f"{job.timings.running_s:.2f} s, seed {job.request.seed}"
            console.print(
                f"[bold green]saved[/] {path}  [dim]{drawing.label}, {seconds}[/]", soft_wrap=True
            )
