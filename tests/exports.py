"""Tiny models exported on the spot."""

import shutil
from pathlib import Path
from typing import Any

from diffusion.bundle.bundle import Bundle, load_bundle
from model_export.onnx.export import export_bundle
from model_export.quiet import quiet_libraries


def exported(source: Path, folder: Path, precision: str = "fp32", **options: Any) -> Path:
    """Copy a bundle to ``folder``, export it there and return the folder."""
    quiet_libraries()
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("onnx"))
    export_bundle(folder, precision, **options)
    return folder


def both(folder: Path, precision: str = "fp32") -> tuple[Bundle, Bundle]:
    """Return the bundle run by torch, and by ONNX Runtime."""
    return load_bundle(folder), load_bundle(folder, backend="onnx", precision=precision)
