"""Exporting to ONNX: what is written, what is refused, and that nothing half-made is left."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file
from torch import nn
from typer.testing import CliRunner

from diffusion.backends.onnx.files import (
    MANIFEST,
    Graph,
    check_external_data,
    export_folder,
    file_sha256,
    shared_weights,
)
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import BundleError
from model_export.errors import ExportError, OutputError, VerificationError
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.onnx.export import export_bundle, weights_bytes
from model_export.onnx.graphs import Network, export_graph
from model_export.onnx.quantize import quantize
from model_export.onnx.verify import BOUNDS, Bounds
from service.cli.main import app
from tests.exports import both, exported

SETTINGS = SamplingSettings(steps=4)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(exported_tiny: Path, tmp_path: Path) -> Path:
    """Give each test a copy that it may spoil."""
    return Path(shutil.copytree(exported_tiny, tmp_path / "bundle"))


def manifest_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((export_folder(folder, "fp32") / MANIFEST).read_text())
    return value


def test_the_manifest_records_what_was_made_and_measured(exported_tiny: Path) -> None:
    manifest = manifest_of(exported_tiny)
    assert manifest["model_sha256"] == load_bundle(exported_tiny).info.sha256
    assert manifest["opset"] == 20
    assert {"torch", "onnx", "onnxruntime", "diffusers"} <= manifest["versions"].keys()
    assert manifest["parts"]["unet"]["inputs"] == {
        "sample": ["rows", 4, "height", "width"],
        "timesteps": ["rows"],
        "embeddings": ["rows", "tokens", 32],
    }
    assert manifest["parts"].keys() == {"unet", "text_encoder", "vae_decoder"}
    for part in manifest["parts"]:
        assert manifest["verified"][part]["largest_relative_difference"] < 1e-5
        assert manifest["files"][f"{part}.onnx"] == file_sha256(
            export_folder(exported_tiny, "fp32") / f"{part}.onnx"
        )
    assert manifest["verified"]["pictures"]["largest_difference_levels"] <= 1
    assert manifest["speed"]["rows"].keys() == {"1", "4", "8", "16"}


def test_shared_weights_are_not_written_again(exported_tiny: Path) -> None:
    written = sum(p.stat().st_size for p in export_folder(exported_tiny, "fp32").iterdir())
    model = onnx.load(export_folder(exported_tiny, "fp32") / "unet.onnx", load_external_data=False)
    names = load_file(exported_tiny / "unet" / WEIGHTS).keys()
    assert {tensor.name for tensor in model.graph.initializer} == names
    assert written < 400_000


@pytest.mark.full
def test_large_halves_lie_beside_their_graph_and_draw_nearly_the_same(
    exported_tiny: Path, tmp_path: Path
) -> None:
    large = {"weights": "embedded", "largest": 100_000}
    folder = exported(exported_tiny, tmp_path / "large", "fp16", **large)
    files = {path.name for path in export_folder(folder, "fp16").iterdir()}
    assert {"unet.onnx", "unet.onnx_data"} <= files
    theirs, ours = both(folder, "fp16")
    assert ours.backbone.name == "onnx-fp16"
    assert nearly_the_same(theirs, ours)
    (export_folder(folder, "fp16") / "unet.onnx_data").write_bytes(b"other weights")
    with pytest.raises(BundleError, match=r"unet\.onnx_data is not the file that was verified"):
        load_bundle(folder, backend="onnx", precision="fp16")


def nearly_the_same(theirs: Bundle, ours: Bundle) -> bool:
    """Whether both draw the same image, but for a level or two."""
    wanted, found = (
        next(iter(draw(bundle, ["a red apple"], [1], SETTINGS))).astype(int)
        for bundle in (theirs, ours)
    )
    return bool(np.abs(wanted - found).mean() < 2)


@pytest.mark.full
@pytest.mark.parametrize(
    ("precision", "bounds", "message"),
    [
        ("fp32", Bounds(1e-12, 0.0), r"unet: prediction differs .* the bound is 1e-12"),
        ("int8", Bounds(BOUNDS["int8"].relative, 90.0), r"is drawn .* the bound is 90 dB"),
    ],
)
def test_a_failed_verification_leaves_the_bundle_as_it_was(
    folder: Path, precision: str, bounds: Bounds, message: str
) -> None:
    before = manifest_of(folder)
    with pytest.raises(VerificationError, match=message):
        export_bundle(folder, precision, bounds=bounds)
    assert manifest_of(folder) == before
    assert [path.name for path in (folder / "onnx").iterdir()] == ["fp32"]


def test_the_base_size_and_others_are_compared(exported_tiny: Path) -> None:
    verified = manifest_of(exported_tiny)["verified"]
    bundle = load_bundle(exported_tiny)
    base = "×".join(map(str, bundle.latent_shape(bundle.info.width, bundle.info.height)))
    assert f"1 row of {base}" in verified["vae_decoder"]["cases"]
    length = bundle.encode_prompts(["a red apple"])[0].embeddings.shape[0]
    assert f"1 row of {base} and {length}×32" in verified["unet"]["cases"]
    heights = {case.split("×")[1] for case in verified["unet"]["cases"]}
    assert len(heights) >= 2


def test_a_folder_that_is_no_export_is_not_overwritten(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    for out in (folder, folder / "unet", folder / "onnx", folder.parent):
        with pytest.raises(OutputError, match="holds something else, which is not overwritten"):
            export_bundle(folder, "fp32", weights="embedded", out=out)
    assert weights.exists()


def test_an_export_of_other_weights_is_refused(folder: Path) -> None:
    path = folder / "unet" / WEIGHTS
    weights = load_file(path)
    weights["conv_in.bias"] = weights["conv_in.bias"] + 1
    save_file(weights, path)
    with pytest.raises(BundleError, match="exported from other weights; export it again"):
        load_bundle(folder, backend="onnx")
    assert load_bundle(folder, backend="auto").backbone.name == "torch"


def test_a_graph_that_was_changed_is_refused(folder: Path) -> None:
    path = export_folder(folder, "fp32") / "unet.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"unet\.onnx is not the file that was verified"):
        load_bundle(folder, backend="onnx")
    path.unlink()
    with pytest.raises(BundleError, match=r"unet\.onnx is missing"):
        load_bundle(folder, backend="onnx")


def in_a_weight(model: onnx.ModelProto) -> onnx.TensorProto:
    return model.graph.initializer[0]


def in_a_node(model: onnx.ModelProto) -> onnx.TensorProto:
    constant = helper.make_node("Constant", [], ["c"], value=onnx.TensorProto(data_type=1))
    model.graph.node.append(constant)
    return model.graph.node[-1].attribute[0].t


def in_a_branch(model: onnx.ModelProto) -> onnx.TensorProto:
    weight = onnx.TensorProto(name="w", data_type=1)
    branch = helper.make_graph([], "branch", [], [], [weight])
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch))
    return model.graph.node[-1].attribute[0].g.initializer[0]


@pytest.mark.parametrize("where", [in_a_weight, in_a_node, in_a_branch])
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../../../secret", "external data '../../../secret' leaves the bundle"),
        ("/etc/hostname", "external data '/etc/hostname' leaves the bundle"),
        ("other.onnx_data", "has no sha256 of external data 'other.onnx_data'"),
    ],
)
def test_external_data_elsewhere_is_refused(
    folder: Path, where: Callable[[onnx.ModelProto], onnx.TensorProto], place: str, message: str
) -> None:
    path = export_folder(folder, "fp32") / "unet.onnx"
    model = onnx.load(path, load_external_data=False)
    tensor = where(model)
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    onnx.save_model(model, path)
    manifest = manifest_of(folder)
    manifest["files"]["unet.onnx"] = file_sha256(path)
    (path.parent / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder, backend="onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2 is not served"),
        ({"files": {"../../model_index.json": "0"}}, "leaves the bundle"),
        ({"files": {}}, r"has no sha256 of unet\.onnx"),
        ({"files": []}, "files is not an object"),
        ({"parts": {}}, "has no text_encoder; export it again"),
        ({"parts": {"unet": None}}, "unet is not an object"),
        ({"parts": {"unet": {}}}, "has no sha256 of None"),
        ({"precision": "fp16"}, "onnx/fp32 is an export in 'fp16'"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    path = export_folder(folder, "fp32") / MANIFEST
    path.write_text(json.dumps(manifest_of(folder) | change))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder, backend="onnx")


def test_only_weights_that_are_given_may_be_called_shared(folder: Path) -> None:
    path = export_folder(folder, "fp32") / "unet.onnx"
    model = onnx.load(path, load_external_data=False)
    graph = Graph("unet", path, shared=True)
    check_external_data(model, {}, graph)
    tensor = in_a_node(model)
    tensor.external_data.add(key="location", value="shared")
    with pytest.raises(BundleError, match="no sha256 of external data 'shared'"):
        check_external_data(model, {}, graph)
    with pytest.raises(BundleError, match="both shared and beside it"):
        check_external_data(model, {"shared": "…"}, graph)


class Undecided(nn.Module):
    """Takes another way for other values, which a graph cannot."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_exported_is_a_one_line_error() -> None:
    x = {"x": torch.ones(2, 3)}
    network = Network("unet", Undecided(), x, ("y",), {"x": {0: "rows"}}, "", {"x": (3,)})
    with pytest.raises(ExportError, match=r"^unet: torch cannot export it: [^\n]+$"):
        export_graph(network)


def test_bfloat16_weights_are_shared_too(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    weights = {"weight": torch.arange(3).bfloat16(), "index": torch.arange(2)}
    save_torch_file(weights, tmp_path / "unet" / WEIGHTS)
    found = shared_weights(tmp_path, "unet", torch.float32)
    dtypes = {name: value.dtype for name, value in found.items()}
    assert dtypes == {"weight": np.float32, "index": np.int64}
    assert found["weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("beside", [False, True])
def test_products_are_quantized_in_graphs_of_any_size(tmp_path: Path, beside: bool) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 48])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    assert weights_bytes(model) == weight.nbytes
    found = quantize(model, tmp_path, beside=beside)
    assert weights_bytes(found) < weight.nbytes / 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_the_command_exports(folder: Path, tmp_path: Path) -> None:
    made = export_folder(folder, "int8")
    command = ["models", "export", str(folder), "--precision", "int8"]
    refused = CliRunner().invoke(app, [*command, "--weights", "shared"])
    assert refused.exit_code == 2
    outcome = CliRunner().invoke(app, [*command, "--out", str(made), "--threads", "2"])
    assert outcome.exit_code == 0
    assert {"unet.onnx", MANIFEST} <= {path.name for path in made.iterdir()}
    assert json.loads((made / MANIFEST).read_text())["speed"]["threads"] == 2
    assert manifest_of(folder)["precision"] == "fp32", "another export was touched"
    theirs, ours = both(folder, "int8")
    assert ours.backbone.name == "onnx-int8"
    assert nearly_the_same(theirs, ours)
    wrong = CliRunner().invoke(app, ["models", "export", str(tmp_path / "nothing")])
    assert wrong.exit_code == 2
    assert "nothing" in wrong.output
