"""Calibrations on disk, so that a worker that starts again does not measure again."""

import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import time

import structlog
import torch
from pydantic import TypeAdapter, ValidationError

from diffusion.bundle.bundle import Bundle
from workers.engine.batcher import MIN_ROWS
from workers.engine.calibrate import Calibration

log = structlog.get_logger()
FORM = 2
"""Of the files, and of how sizes are chosen: raise it when either changes."""
KEPT_S = 7 * 86_400.0
"""A calibration is made anew after a week: drivers and neighbours change."""
CALIBRATION = TypeAdapter(Calibration)


def facts(bundle: Bundle, most: int) -> dict[str, object]:
    """Return what a calibration depends on."""
    return {
        "form": FORM,
        "model": bundle.info.sha256,
        "size": [bundle.info.width, bundle.info.height],
        "network": bundle.backbone.name,
        "device": device_name(bundle.device),
        "threads": torch.get_num_threads(),
        "graphs": bundle.few_sizes,
        "compiled": bundle.acceleration.compiled,
        "torch": torch.__version__,
        "onnxruntime": installed("onnxruntime") or installed("onnxruntime-gpu"),
        "most_rows": most,
    }


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """Return the processor's model, or its kind where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def kept_calibration(folder: Path, of: Mapping[str, object]) -> Calibration | None:
    """Return the calibration of these facts in a cache folder; None if it is not there or broken.

    One that is older than a week is none.
    """
    path = _path(folder, of)
    try:
        if time() - path.stat().st_mtime > KEPT_S:
            return None
        written = json.loads(path.read_bytes())
        found = CALIBRATION.validate_python(written["calibration"], strict=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
        log.warning("kept calibration is not used", file=str(path), reason=type(error).__name__)
        return None
    rows, most = found.rows_per_tick, of["most_rows"]
    ascending = tuple(sorted({*found.batch_sizes, rows})) if found.batch_sizes else ()
    fits = isinstance(most, int) and MIN_ROWS <= rows <= max(MIN_ROWS, most)
    speed = found.rows_per_s
    if not (fits and math.isfinite(speed) and speed > 0 and found.batch_sizes == ascending):
        log.warning("kept calibration is not used", file=str(path), reason="impossible values")
        return None
    return found


def keep_calibration(folder: Path, of: Mapping[str, object], calibration: Calibration) -> None:
    """Keep a calibration in a cache folder; one that cannot be written is measured again."""
    path = _path(folder, of)
    text = json.dumps({"of": dict(of), "calibration": asdict(calibration)}, indent=1)
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text + "\n")
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        log.warning("calibration not kept", folder=str(folder), reason=str(error))


def _path(folder: Path, of: Mapping[str, object]) -> Path:
    name = sha256(json.dumps(dict(of), sort_keys=True).encode()).hexdigest()[:24]
    return folder / "calibrations" / f"{name}.json"
