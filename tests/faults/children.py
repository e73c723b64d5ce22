"""What runs in a forked child: the very entry points of the processes that operators start."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.__main__ import main as celery

from diffusion.bundle.bundle import Bundle
from service import uvicorn_door
from tests.faults.devices import FAULTS, Fault, Faulty, illegal_access, paced, switched
from workers import app
from workers.engine.admission import SlotAdmission
from workers.engine.messages import ImageRequest
from workers.loading import load
from workers.settings import WorkerSettings

POISON = "poison"
"""A job with this prompt kills the process or breaks the device of a worker that draws it."""


def worker(_words: list[str]) -> None:
    """Run the celery command."""
    sys.exit(celery())


def poisoned_worker(words: list[str]) -> None:
    """Run a worker whose process dies when it begins to draw a poison job."""
    _before_poison(lambda: os.kill(os.getpid(), signal.SIGKILL))
    worker(words)


def breaking_worker(words: list[str]) -> None:
    """Run a worker whose device breaks for good when it begins to draw a poison job."""
    broken = threading.Event()
    _before_poison(broken.set)
    break_it = illegal_access(0)
    _with_fault(lambda call, found: break_it(call, found) if broken.is_set() else found)
    worker(words)


def _before_poison(act: Callable[[], None]) -> None:
    open_slot = SlotAdmission.open

    def opening(self: SlotAdmission, request: ImageRequest) -> object:
        if request.prompt == POISON:
            act()
        return open_slot(self, request)

    SlotAdmission.open = opening  # type: ignore[assignment,method-assign]


def _with_fault(fault: Fault) -> None:
    def loading(settings: WorkerSettings) -> Bundle:
        bundle = load(settings)
        bundle.backbone = Faulty(bundle.backbone, fault)
        return bundle

    vars(app)["load"] = loading


def faulty_worker(words: list[str]) -> None:
    """Run a worker whose device has a fault for as long as a file exists, and may be slow."""
    broken = switched(
        FAULTS[os.environ.get("DEVICE_FAULT", "slow")],
        Path(os.environ.get("DEVICE_SWITCH", "/nonexistent")),
    )
    pace_s, row_s = (float(os.environ.get(f"DEVICE_{n}_S", "0")) for n in ("PACE", "ROW"))
    _with_fault(paced(broken, pace_s, row_s))
    worker(words)


def slow_while(switch: Path) -> dict[str, Any]:
    """Return what a worker is started with to take its time while a file exists.

    Its jobs are then still under way however late a busy machine looks at them.
    """
    variables = {"DEVICE_FAULT": "slow", "DEVICE_SWITCH": str(switch)}
    return {"target": faulty_worker, "variables": variables}


def slow(pass_s: float = 0.0, row_s: float = 0.0) -> dict[str, Any]:
    """Return what a worker is started with to take so long for each pass and each of its rows."""
    variables = {"DEVICE_PACE_S": str(pass_s), "DEVICE_ROW_S": str(row_s)}
    return {"target": faulty_worker, "variables": variables}


def door(_words: list[str]) -> None:
    """Run the door under uvicorn."""
    sys.exit(uvicorn_door.main())


def repository() -> Path:
    """Return the folder that the packages are imported from."""
    return Path(uvicorn_door.__file__).parents[1]
