"""Exporting to ONNX: what is written, what is refused, and that nothing half-made is left."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from diffusion.bundle import Bundle, load_bundle
from diffusion.errors import BundleError
from diffusion.onnx_files import MANIFEST, export_folder, file_sha256
from model_export.errors import OutputError, VerificationError
from model_export.onnx import export_bundle
from model_export.sampling import SamplingSettings, draw
from model_export.verify import Bounds, compare_pictures
from service.cli import app
from tests.exports import both, exported

SETTINGS = SamplingSettings(steps=4)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(exported_tiny: Path, tmp_path: Path) -> Path:
    """Give each test a copy that it may spoil."""
    return Path(shutil.copytree(exported_tiny, tmp_path / "bundle"))


def manifest_of(folder: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((export_folder(folder, "fp32") / MANIFEST).read_text())
    return value


def test_the_manifest_tells_what_was_made_and_measured(exported_tiny: Path) -> None:
    manifest = json.loads((export_folder(exported_tiny, "fp32") / MANIFEST).read_text())
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


def test_large_halves_lie_beside_their_graph_and_draw_nearly_the_same(
    exported_tiny: Path, tmp_path: Path
) -> None:
    folder = exported(
        exported_tiny, tmp_path / "large", "fp16", weights="embedded", largest=100_000
    )
    files = {path.name for path in export_folder(folder, "fp16").iterdir()}
    assert {"unet.onnx", "unet.onnx_data"} <= files
    theirs, ours = both(folder, "fp16")
    assert ours.backend.name == "onnx-fp16"
    assert nearly_the_same(theirs, ours)
    (export_folder(folder, "fp16") / "unet.onnx_data").write_bytes(b"other weights")
    with pytest.raises(BundleError, match=r"unet\.onnx_data is not the file that was verified"):
        load_bundle(folder, backend="onnx", precision="fp16")


def nearly_the_same(theirs: Bundle, ours: Bundle) -> bool:
    """Whether both draw the same picture, but for a level or two."""
    wanted, found = (
        next(iter(draw(bundle, ["a red apple"], [1], SETTINGS))).astype(int)
        for bundle in (theirs, ours)
    )
    return bool(np.abs(wanted - found).mean() < 2)


def test_a_failed_verification_leaves_the_bundle_as_it_was(folder: Path) -> None:
    before = manifest_of(folder)
    with pytest.raises(VerificationError, match=r"unet: prediction differs .* the bound is 1e-12"):
        export_bundle(folder, "fp32", bounds=Bounds(1e-12, 0.0))
    assert manifest_of(folder) == before
    assert [path.name for path in (folder / "onnx").iterdir()] == ["fp32"]


def test_a_folder_that_is_no_export_is_not_overwritten(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    for out in (folder, folder / "unet", folder / "onnx", folder.parent):
        with pytest.raises(OutputError, match="holds something else, which is not overwritten"):
            export_bundle(folder, "fp32", weights="embedded", out=out)
    assert weights.exists()


def test_pictures_further_apart_than_the_bound_are_told(exported_tiny: Path) -> None:
    with pytest.raises(VerificationError, match=r"is drawn .* the bound is 500 dB"):
        compare_pictures(*both(exported_tiny), Bounds(1.0, 500.0))


def test_an_export_of_other_weights_is_refused(folder: Path) -> None:
    path = folder / "unet" / WEIGHTS
    weights = load_file(path)
    weights["conv_in.bias"] = weights["conv_in.bias"] + 1
    save_file(weights, path)
    with pytest.raises(BundleError, match="exported from other weights; export it again"):
        load_bundle(folder, backend="onnx")
    assert load_bundle(folder, backend="auto").backend.name == "torch"


def test_a_graph_that_was_changed_is_refused(folder: Path) -> None:
    path = export_folder(folder, "fp32") / "unet.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"unet\.onnx is not the file that was verified"):
        load_bundle(folder, backend="onnx")
    path.unlink()
    with pytest.raises(BundleError, match=r"unet\.onnx is missing"):
        load_bundle(folder, backend="onnx")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("../../../secret", "external data '../../../secret' leaves the bundle"),
        ("/etc/hostname", "external data '/etc/hostname' leaves the bundle"),
        ("other.onnx_data", "has no sha256 of external data 'other.onnx_data'"),
    ],
)
def test_external_data_elsewhere_is_refused(folder: Path, place: str, message: str) -> None:
    path = export_folder(folder, "fp32") / "unet.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = place
    onnx.save_model(model, path)
    manifest = json.loads((path.parent / MANIFEST).read_text())
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
        ({"parts": {}}, "has no text_encoder; export it again"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: dict[str, object], message: str
) -> None:
    path = export_folder(folder, "fp32") / MANIFEST
    path.write_text(json.dumps(manifest_of(folder) | change))
    with pytest.raises(BundleError, match=message):
        load_bundle(folder, backend="onnx")


def test_the_command_exports_and_tells(folder: Path, tmp_path: Path) -> None:
    made = export_folder(folder, "int8")
    command = ["models", "export", str(folder), "--precision", "int8", "--out", str(made)]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0
    assert {"unet.onnx", MANIFEST} <= {path.name for path in made.iterdir()}
    assert manifest_of(folder)["precision"] == "fp32", "another export was touched"
    theirs, ours = both(folder, "int8")
    assert ours.backend.name == "onnx-int8"
    assert nearly_the_same(theirs, ours)
    wrong = CliRunner().invoke(app, ["models", "export", str(tmp_path / "nothing")])
    assert wrong.exit_code == 1
