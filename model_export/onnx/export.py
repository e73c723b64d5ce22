"""``python -m model_export.onnx MODEL``: export a bundle to ONNX, verify it, time it."""

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
import torch
import typer
from rich.console import Console
from rich.table import Table

from diffusion.backbones.layouts import layout_of
from diffusion.backends.onnx.backend import OnnxExport
from diffusion.backends.onnx.files import (
    FORMAT,
    MANIFEST,
    PARTS,
    SHARED,
    Graph,
    export_folder,
    file_sha256,
    shared_weights,
)
from diffusion.backends.onnx.session import Session, SessionSettings
from diffusion.bundle.bundle import assemble
from diffusion.errors import BundleError, DiffusionError
from diffusion.files import INDEX, check_files, digest, read_json
from diffusion.parts.open import OnnxParts, TorchParts
from model_export.errors import ExportError
from model_export.fresh_folder import fresh_folder
from model_export.onnx.graphs import OPSET, Network, export_graph, networks, share_weights
from model_export.onnx.quantize import quantize
from model_export.onnx.verify import BOUNDS, Bounds, compare, compare_images, speeds
from model_export.quiet import quiet_libraries
from model_export.terminal import escape_what_streams_lack, plain_console

LARGEST = 2 * 10**9  # bytes of a graph with its weights; protobuf's limit is 2 GiB
EMBEDDED = "embedded"
BESIDE = "beside"
LIBRARIES = ("torch", "diffusers", "transformers", "onnx", "onnxscript", "onnxruntime")
CPU = torch.device("cpu")


Precision = Literal["fp32", "fp16", "int8"]
Weights = Literal["shared", "embedded"]


def export_bundle(
    bundle: Path,
    precision: str,
    *,
    weights: str = SHARED,
    out: Path | None = None,
    bounds: Bounds | None = None,
    largest: int = LARGEST,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Export and verify a bundle; return the manifest that is written beside the graphs.

    ``bounds`` default to the precision's; above ``largest`` bytes weights go beside their graph.
    The export replaces an older one only once it is complete and verified.

    Raises:
        BundleError: the bundle cannot be loaded.
        VerificationError: the export differs from torch by more than its bound.
        OutputError: there is something else at ``out``, or another process is exporting there.
    """
    check_files(bundle)
    layout = layout_of(read_json(bundle / INDEX))
    if layout.load_export is None:
        raise BundleError(f"{INDEX}: {layout.pipelines[0]} is not exported to ONNX, only UNets are")
    ours = fresh_folder(export_folder(bundle, precision))
    with ours if out is None else fresh_folder(out, _is_export) as work:
        allowed = bounds or BOUNDS[precision]
        export = _Export(bundle, work, precision, weights, allowed, largest, report)
        manifest = export.write()
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (work / MANIFEST).write_text(text + "\n", "utf-8")
    return manifest


def _is_export(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return MANIFEST in names and all(Path(name).stem in PARTS for name in names - {MANIFEST})


@dataclass(frozen=True)
class _Export:
    bundle: Path
    work: Path  # where it is written
    precision: str
    weights: str
    bounds: Bounds
    largest: int
    report: Callable[[str], None]

    def write(self) -> dict[str, Any]:
        """Write and verify the graphs; return their manifest."""
        bounds = {"psnr_db": self.bounds.psnr_db, "relative": self.bounds.relative}
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "precision": self.precision,
            "opset": OPSET,
            "model_sha256": digest(self.bundle),
            "versions": {library: version(library) for library in LIBRARIES},
            "parts": {},
            "files": {},
            "verified": {"bounds": bounds},
        }
        for network in networks(self.bundle, self.precision):
            self._write_part(network, manifest)
        self._verify_images(manifest)
        return manifest

    def _write_part(self, network: Network, manifest: dict[str, Any]) -> None:
        part = network.part
        self.report(f"{part}: exporting")
        model = export_graph(network)
        if self.precision == "int8":
            model = quantize(model, self.work, beside=weights_bytes(model) > self.largest)
        weights = self._save(model, part)
        manifest["parts"][part] = {
            "file": f"{part}.onnx",
            "weights": weights,
            "inputs": _shapes(model.graph.input),
            "outputs": _shapes(model.graph.output),
        }
        for path in sorted(self.work.glob(f"{part}.*")):
            manifest["files"][path.name] = file_sha256(path)
        self.report(f"{part}: comparing with torch")
        graph = Graph(part, self.work / f"{part}.onnx", weights == SHARED)
        session = Session(self.bundle, graph, manifest["files"], CPU, SessionSettings())
        manifest["verified"][part] = compare(network, session, self.bounds)

    def _save(self, model: Any, part: str) -> str:
        """Write a graph; return where its weights are."""
        path = self.work / f"{part}.onnx"
        if self.weights == SHARED and self.precision != "int8":
            share_weights(model, shared_weights(self.bundle, part, torch.float32))
            onnx.save_model(model, path)
            return SHARED
        if weights_bytes(model) <= self.largest:
            onnx.save_model(model, path)
            return EMBEDDED
        beside = f"{part}.onnx_data"
        onnx.save_model(model, path, save_as_external_data=True, location=beside)
        (self.work / beside).chmod(0o644)  # onnx makes it readable by its owner only
        return BESIDE

    def _verify_images(self, manifest: dict[str, Any]) -> None:
        self.report("drawing images with both")
        sha256 = manifest["model_sha256"]
        theirs = assemble(self.bundle, TorchParts(self.bundle, CPU), sha256)
        export = OnnxExport(self.bundle, self.work, manifest, CPU, SessionSettings())
        ours = assemble(self.bundle, OnnxParts(self.bundle, export, CPU), sha256)
        manifest["verified"]["pictures"] = compare_images(theirs, ours, self.bounds)
        self.report("measuring speed")
        manifest["speed"] = {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "rows": speeds(theirs, ours),
        }


def weights_bytes(model: Any) -> int:
    """Return the size of a graph's weights; protobuf cannot measure a message above 2 GiB."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _shapes(entries: Any) -> dict[str, list[int | str]]:
    return {
        entry.name: [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
        for entry in entries
    }


def show(manifest: dict[str, Any], folder: Path, console: Console) -> None:
    """Print what was verified and measured."""
    for part in manifest["parts"]:
        worst = manifest["verified"][part]["largest_relative_difference"]
        console.print(f"{part:16s} differs from torch by at most {worst:.1e} of its largest value")
    drawn = manifest["verified"]["pictures"]
    console.print(
        f"{'images':16s} {drawn['drawn']} drawn, at least {drawn['lowest_psnr_db']:g} dB close, "
        f"no pixel further off than {drawn['largest_difference_levels']} of 255"
    )
    table = Table("rows", "torch rows/s", "ONNX rows/s", "ratio")
    for rows, speed in manifest["speed"]["rows"].items():
        values = (speed["torch_rows_per_s"], speed["onnx_rows_per_s"], speed["ratio"])
        table.add_row(rows, *(f"{value:g}" for value in values))
    console.print(table)
    size = sum(path.stat().st_size for path in folder.iterdir())
    console.print(f"{size / 1e6:.1f} MB → {folder}")


def command(
    model: Annotated[Path, typer.Argument(help="A bundle in the diffusers layout.")],
    precision: Annotated[Precision, typer.Option()] = "fp32",
    weights: Annotated[
        Weights | None,
        typer.Option(
            help="shared: use the bundle's safetensors; embedded: a copy, the default with --out."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Another folder, for other programs; not served from there.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the measurement.")] = 1,
) -> None:
    """Export a bundle to ONNX beside its weights, verified against torch."""
    if out is not None and weights == SHARED:
        raise typer.BadParameter("only exports inside the bundle can share weights, not --out")
    if precision == "int8" and weights == SHARED:
        raise typer.BadParameter("int8 weights cannot be shared: the bundle does not hold them")
    where = weights or (SHARED if out is None else EMBEDDED)
    torch.set_num_threads(threads)
    console = plain_console()
    with console.status("…") as status:
        manifest = export_bundle(model, precision, weights=where, out=out, report=status.update)
    show(manifest, out or export_folder(model, precision), console)


def main() -> None:
    """Run the command line; an error that the user can fix is one line."""
    quiet_libraries()
    escape_what_streams_lack()
    try:
        typer.run(command)
    except (ExportError, DiffusionError, OSError) as error:
        console = plain_console(stderr=True)
        console.print(str(error), style="red")
        sys.exit(1)
