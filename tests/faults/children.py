"""What runs in a forked child: the very entry points of the processes that operators start."""

import os
import signal
import sys
from pathlib import Path

from celery.__main__ import main as celery

from service import uvicorn_door
from workers.engine.admission import SlotAdmission
from workers.engine.messages import ImageRequest

POISON = "poison"
"""A job with this prompt kills the process that draws it, in a poisoned worker."""


def worker(_words: list[str]) -> None:
    """Run the celery command."""
    sys.exit(celery())


def poisoned_worker(words: list[str]) -> None:
    """Run a worker whose process dies when it begins to draw a poison job."""
    open_slot = SlotAdmission.open

    def opening(self: SlotAdmission, request: ImageRequest) -> object:
        if request.prompt == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return open_slot(self, request)

    SlotAdmission.open = opening  # type: ignore[assignment,method-assign]
    worker(words)


def door(_words: list[str]) -> None:
    """Run the door under uvicorn."""
    sys.exit(uvicorn_door.main())


def repository() -> Path:
    """Return the folder that the packages are imported from."""
    return Path(uvicorn_door.__file__).parents[1]
