"""An exported model's files: the manifest, hashes, and graphs whose weights lie elsewhere.

An export is a folder ``onnx/<precision>`` in a bundle: one graph a part and a manifest. A graph's
weights are in it, in one file beside it (above 2 GB), or the bundle's own safetensors ("shared").
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.bundle_files import read_json
from diffusion.errors import BundleError

FORMAT = 1
PRECISIONS = ("fp32", "fp16", "int8")
MANIFEST = "manifest.json"
SHARED = "shared"  # the location that a graph names for weights in the bundle's safetensors
UNET, TEXT_ENCODER, TEXT_ENCODER_2, DECODER = (
    "unet",
    "text_encoder",
    "text_encoder_2",
    "vae_decoder",
)
PARTS = (UNET, TEXT_ENCODER, TEXT_ENCODER_2, DECODER)
SOURCES = {DECODER: "vae"}  # parts whose weights lie in a folder of another name


@dataclass(frozen=True)
class Graph:
    """One part of an export."""

    part: str
    path: Path
    shared: bool  # the weights are the bundle's own


def export_folder(bundle: Path, precision: str) -> Path:
    """Return where a bundle keeps its export of a precision."""
    return bundle / "onnx" / precision


def has_export(bundle: Path, precision: str, model_sha256: str) -> bool:
    """Return whether a bundle holds an export of exactly these weights."""
    path = export_folder(bundle, precision) / MANIFEST
    return path.exists() and read_json(path).get("model_sha256") == model_sha256


def read_manifest(bundle: Path, precision: str, model_sha256: str) -> dict[str, Any]:
    """Return an export's manifest, once it fits this program, these weights and its own files.

    Raises:
        BundleError: there is none, it is of other weights, or a file is not what it says.
    """
    folder = export_folder(bundle, precision)
    if not (folder / MANIFEST).exists():
        raise BundleError(
            f"{bundle} holds no {precision} export; make one: "
            f"python -m model_export.onnx {bundle} --precision {precision}"
        )
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise BundleError(f"onnx/{precision}: format {manifest.get('format')!r} is not served")
    if manifest.get("model_sha256") != model_sha256:
        raise BundleError(f"onnx/{precision} was exported from other weights; export it again")
    files: Mapping[str, str] = manifest.get("files", {})
    for name, sha256 in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"onnx/{precision}: {name} leaves the bundle")
        if not path.is_file():
            raise BundleError(f"onnx/{precision}: {name} is missing")
        if file_sha256(path) != sha256:
            raise BundleError(f"onnx/{precision}: {name} is not the file that was verified")
    return manifest


def graphs(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Graph]:
    """Return an export's parts by name.

    Raises:
        BundleError: the manifest names a graph that it does not vouch for.
    """
    found = {}
    for part, entry in manifest["parts"].items():
        name = str(entry["file"])
        if name not in manifest["files"]:
            raise BundleError(f"{folder.name}/{MANIFEST} has no sha256 of {name}")
        found[part] = Graph(part, folder / name, entry["weights"] == SHARED)
    return found


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def external_locations(model: Any, vouched: Mapping[str, str], folder: Path) -> set[str]:
    """Return the files that a graph's weights lie in, by the names it gives them.

    Raises:
        BundleError: a file outside the export's folder, or one the manifest does not vouch for.
    """
    places = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for place in places - {SHARED}:
        if not (folder / place).resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"external data {place!r} leaves the bundle")
        if place not in vouched:
            raise BundleError(f"the manifest has no sha256 of external data {place!r}")
    return places


def shared_weights(bundle: Path, part: str, dtype: type) -> dict[str, NDArray[Any]]:
    """Return a part's weights by name from the bundle's safetensors, floats as ``dtype``.

    Raises:
        BundleError: there are none, or they are broken.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = bundle / SOURCES.get(part, part)
    paths = sorted(folder.glob("*.safetensors"))
    plain = [path for path in paths if ".fp16" not in path.name]
    tensors: dict[str, NDArray[Any]] = {}
    try:
        for path in plain or paths:
            tensors |= load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{folder.name}: {error}") from error
    if not tensors:
        raise BundleError(f"{folder.name} holds no safetensors file")
    return {
        name: value.astype(dtype) if np.issubdtype(value.dtype, np.floating) else value
        for name, value in tensors.items()
    }
