"""The files of an ONNX export: the manifest, hashes, and where the graphs' weights are.

An export is a folder ``onnx/<precision>`` in a bundle: one graph per part and a manifest. A graph's
weights are in it, in one file beside it (above 2 GB), or in the bundle's safetensors ("shared").
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.errors import BundleError
from diffusion.files import read_json

FORMAT = 1
PRECISIONS = ("fp32", "fp16", "int8")
MANIFEST = "manifest.json"
SHARED = "shared"  # a graph's location for weights in the bundle's safetensors
UNET, TEXT_ENCODER, TEXT_ENCODER_2, DECODER = (
    "unet",
    "text_encoder",
    "text_encoder_2",
    "vae_decoder",
)
PARTS = (UNET, TEXT_ENCODER, TEXT_ENCODER_2, DECODER)
SOURCES = {DECODER: "vae"}  # parts whose weights are in a folder of another name


@dataclass(frozen=True)
class Graph:
    """One part of an export."""

    part: str
    path: Path
    shared: bool  # the weights are in the bundle's safetensors


def export_folder(bundle: Path, precision: str) -> Path:
    """Return where a bundle keeps its export of a precision."""
    return bundle / "onnx" / precision


def has_export(bundle: Path, precision: str, model_sha256: str) -> bool:
    """Return whether a bundle holds an export of these weights."""
    path = export_folder(bundle, precision) / MANIFEST
    return path.exists() and read_json(path).get("model_sha256") == model_sha256


def read_manifest(bundle: Path, precision: str, model_sha256: str) -> dict[str, Any]:
    """Return an export's manifest, checked against the weights and against the exported files.

    Raises:
        BundleError: there is none, it is of other weights, or a file does not match it.
    """
    folder = export_folder(bundle, precision)
    if not (folder / MANIFEST).exists():
        raise BundleError(
            f"{bundle} holds no {precision} export; make one: "
            f"python -m model_export.onnx {bundle} --precision {precision} "
            f"(onnx/{precision}/{MANIFEST} is missing)"
        )
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise BundleError(f"onnx/{precision}: format {manifest.get('format')!r} is not served")
    if manifest.get("model_sha256") != model_sha256:
        raise BundleError(
            f"onnx/{precision} was exported from other weights; export it again "
            f"({MANIFEST} names them)"
        )
    if manifest.get("precision") != precision:
        raise BundleError(f"onnx/{precision} is an export in {manifest.get('precision')!r}")
    for name, sha256 in _object(manifest, "files").items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"onnx/{precision}/{MANIFEST}: {name} leaves the bundle")
        if not path.is_file():
            raise BundleError(f"onnx/{precision}: {name} is missing")
        if file_sha256(path) != sha256:
            raise BundleError(f"onnx/{precision}: {name} is not the file that was verified")
    return manifest


def graphs(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Graph]:
    """Return an export's parts by name.

    Raises:
        BundleError: the manifest names a graph but not its sha256.
    """
    found = {}
    parts, files = _object(manifest, "parts"), _object(manifest, "files")
    for part in parts:
        entry = _object(parts, part)
        name = str(entry.get("file"))
        if name not in files:
            raise BundleError(f"{folder.name}/{MANIFEST} has no sha256 of {name}")
        found[part] = Graph(part, folder / name, entry.get("weights") == SHARED)
    return found


def _object(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    if not isinstance(value, dict):
        raise BundleError(f"{MANIFEST}: {key} is not an object")
    return value


def file_sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_external_data(model: Any, files: Mapping[str, str], graph: Graph) -> None:
    """Check the files that a graph's tensors are stored in, by the names it gives them.

    Raises:
        BundleError: a file is outside the export's folder, or the manifest has no sha256 of it.
    """
    places = Counter(_locations(_tensors(model)))
    if graph.shared:  # the session gets the initializers; anything else so named is a file
        places -= Counter({SHARED: [*_locations(model.graph.initializer)].count(SHARED)})
    folder = graph.path.parent.resolve()
    for place in places:
        if not (folder / place).resolve().is_relative_to(folder):
            raise BundleError(f"external data {place!r} leaves the bundle")
        if place not in files:
            raise BundleError(f"the manifest has no sha256 of external data {place!r}")
    if graph.shared and places:
        raise BundleError(f"{graph.path.name}: weights are both shared and beside it")


def _locations(tensors: Iterable[Any]) -> Iterator[str]:
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors: initializers, and those in attributes, branches and functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)


def shared_weights(bundle: Path, part: str, dtype: torch.dtype) -> dict[str, NDArray[Any]]:
    """Return a part's weights by name from the bundle's safetensors, floats as ``dtype``.

    Raises:
        BundleError: there are none, or they are broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = bundle / SOURCES.get(part, part)
    paths = sorted(folder.glob("*.safetensors"))
    plain = [path for path in paths if ".fp16" not in path.name]
    tensors: dict[str, Tensor] = {}  # numpy has no bfloat16
    try:
        for path in plain or paths:
            tensors |= load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{folder.name}: {error}") from error
    if not tensors:
        raise BundleError(f"{folder.name} holds no safetensors file")
    return {
        name: (value.to(dtype) if value.is_floating_point() else value).numpy()
        for name, value in tensors.items()
    }
