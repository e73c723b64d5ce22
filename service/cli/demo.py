"""``sfumato demo``: start the whole stack, draw a few images, stop everything."""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from jobs.telemetry.text import shown
from service.cli.drawing import draw, show
from service.client.client import Sfumato
from service.local.stack import Door, StackOptions, running
from service.processes.folder import usable_folder

REQUESTS: tuple[dict[str, Any], ...] = (
    {"prompt": "a tiger", "seed": 4, "num_inference_steps": 25},
    {"prompt": "red heart", "seed": 2, "sampler": "euler_ancestral", "num_inference_steps": 40},
    {"prompt": "章鱼", "seed": 2, "sampler": "heun", "num_inference_steps": 20},
    {"prompt": "pizza", "seed": 7, "sampler": "ddim", "num_inference_steps": 15},
)
"""Different samplers, step counts and languages, which the worker runs in one batch."""


def run(door: Door, out: Path, console: Console) -> int:
    """Run the demonstration; return 0 if every job succeeded."""
    began = time.monotonic()
    usable_folder(out)
    with TemporaryDirectory(prefix="sfumato-") as folder:
        options = StackOptions(Path(folder), port=0, door=door)
        console.print("starting Redis, one worker and the door ...")
        with running(options, report=lambda line: print(shown(line), file=sys.stderr)) as stack:
            console.print(f"ready {stack.url} after {time.monotonic() - began:.1f} s")
            with Sfumato(stack.url, api_key=stack.api_key) as client:
                drawings = draw(client, REQUESTS, out, console)
            show(drawings, console)
            for drawing in drawings:
                if drawing.files and drawing.previews:
                    drawing.filmstrip(drawing.files[0].with_suffix(".steps.png"))
            console.print("stopping ...")
    failed = [drawing for drawing in drawings if drawing.job.status != "succeeded"]
    console.print(
        f"{len(drawings) - len(failed)} images in {shown(out)}/, each with a strip of previews "
        f"(*.steps.png); {time.monotonic() - began:.1f} s in all"
    )
    console.print("to draw in a browser: make up, then open http://127.0.0.1:8000/")
    return 1 if failed else 0
