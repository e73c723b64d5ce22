"""ONNX Runtime in the place of torch: the same images, and bits that depend on nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from diffusion.backends.onnx.files import MANIFEST, Graph, export_folder
from diffusion.backends.onnx.session import (
    HEAVY,
    PROVIDERS,
    Session,
    SessionSettings,
    chosen_provider,
    nodes_elsewhere,
)
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import BundleError
from diffusion.samplers.registry import SAMPLERS
from model_export.evaluation.measures import psnr_db
from model_export.evaluation.sampling import SamplingSettings, draw
from tests.backbones import backend_of
from tests.bundles import tiny_bundle
from tests.exports import both, exported
from tests.layouts.unet_family import sd15, sdxl
from workers.settings import DEFAULT_MODEL

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair(exported_tiny: Path) -> tuple[Bundle, Bundle]:
    return both(exported_tiny)


@pytest.fixture(scope="module")
def shipped() -> tuple[Bundle, Bundle]:
    return both(DEFAULT_MODEL)


@pytest.mark.parametrize("which", ["pair", "shipped"])
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_draws_what_it_draws_with_torch(
    request: pytest.FixtureRequest, which: str, sampler: str
) -> None:
    # In 8 steps of DPM2 a, a millionth more noise moves pixels by 90 levels, with torch alone.
    settings = SamplingSettings(sampler=sampler, steps=15, guidance_scale=3.0)
    wanted, found = (
        np.stack(list(draw(bundle, ["a red apple", "红苹果"], [3, 4], settings)))
        for bundle in request.getfixturevalue(which)
    )
    assert np.abs(wanted.astype(int) - found).max() <= 1
    if which == "shipped":
        manifest = json.loads((export_folder(DEFAULT_MODEL, "fp32") / MANIFEST).read_text())
        assert psnr_db(found, wanted).min() >= manifest["verified"]["bounds"]["psnr_db"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("default_model", [False, True])
def test_a_row_is_the_same_in_any_batch(
    exported_tiny: Path, default_model: bool, threads: int
) -> None:
    folder = DEFAULT_MODEL if default_model else exported_tiny
    bundle = load_bundle(folder, backend="onnx", sessions=SessionSettings(threads=threads))
    info, generator = bundle.info, torch.Generator().manual_seed(0)
    shape = bundle.latent_shape(info.width, info.height)
    cond = bundle.encode_prompts(["a red apple"])[0].embeddings
    sample = torch.randn(17, *shape, generator=generator)
    timesteps = torch.linspace(1, 999, 17)
    embeddings = cond * torch.linspace(0.5, 1.5, 17)[:, None, None]
    whole = backend_of(bundle).predict(sample, timesteps, embeddings, None)
    for rows in (1, 2, 3, 5, 8):
        for first in (0, 17 - rows):
            part = slice(first, first + rows)
            found = backend_of(bundle).predict(
                sample[part], timesteps[part], embeddings[part], None
            )
            assert torch.equal(found, whole[part]), (rows, first)


def standardised_sdxl(folder: Path) -> Path:
    """Write SDXL with the latents of Playground v2.5: standardised, channel by channel."""
    path = sdxl(folder) / "vae" / "config.json"
    statistics = {"latents_mean": [-1.5, 0.3, 0.25, -0.7], "latents_std": [8.4, 5.9, 4.4, 5.5]}
    path.write_text(json.dumps(json.loads(path.read_text()) | statistics))
    return folder


@pytest.mark.full
@pytest.mark.parametrize("layout", [sd15, sdxl, standardised_sdxl])
def test_stable_diffusion_in_its_own_layout(layout: object, tmp_path: Path) -> None:
    source = layout(tmp_path / "source")  # type: ignore[operator]
    theirs, ours = both(exported(source, tmp_path / "exported"))
    settings = SamplingSettings(sampler="euler", steps=4, guidance_scale=4.0)
    for prompt in ("a red apple", ""):
        wanted, found = (
            next(iter(draw(bundle, [prompt], [5], settings))).astype(int)
            for bundle in (theirs, ours)
        )
        assert np.abs(wanted - found).max() <= 1, prompt


def test_sizes_other_than_the_base_are_drawn(pair: tuple[Bundle, Bundle]) -> None:
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 4, 8, 12, generator=generator)
    timesteps = torch.tensor([10.0, 700.5])
    embeddings = torch.stack([c.embeddings for c in pair[0].encode_prompts(["a", "b"])])
    wanted, found = (backend_of(b).predict(sample, timesteps, embeddings, None) for b in pair)
    assert torch.allclose(wanted, found, atol=1e-4)


def test_auto_takes_the_export_where_there_is_one(exported_tiny: Path, tmp_path: Path) -> None:
    assert load_bundle(exported_tiny, backend="auto").backbone.name == "onnx-fp32"
    plain = tiny_bundle(tmp_path / "plain")
    assert load_bundle(plain, backend="auto").backbone.name == "torch"
    assert (
        load_bundle(exported_tiny).info.sha256
        == load_bundle(exported_tiny, backend="auto").info.sha256
    )


def test_auto_takes_no_export_of_other_weights_and_says_so(
    exported_tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiny_bundle(tmp_path / "other", seed=1)
    shutil.copytree(exported_tiny / "onnx", folder / "onnx")
    assert load_bundle(folder, backend="auto").backbone.name == "torch"
    assert "onnx/fp32 was exported from other weights; torch runs instead" in caplog.text


def test_a_runtime_that_the_export_was_not_verified_under_is_logged(
    exported_tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(exported_tiny, tmp_path / "bundle"))
    path = export_folder(folder, "fp32") / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    caplog.set_level("INFO")
    load_bundle(folder, backend="onnx")
    assert "was verified under" not in caplog.text
    manifest["versions"]["onnxruntime"] = "1.2.3"
    path.write_text(json.dumps(manifest), "utf-8")
    load_bundle(folder, backend="onnx")
    running = onnxruntime.__version__
    assert (
        f"onnx/fp32 was verified under ONNX Runtime 1.2.3 but runs under {running}" in caplog.text
    )


def test_out_of_memory_is_raised_and_the_session_stays_usable(tmp_path: Path) -> None:
    kind = onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        ],
        "glutton",
        [helper.make_tensor_value_info("shape", kind.INT64, [1])],
        [helper.make_tensor_value_info("sum", kind.FLOAT, [])],
    )
    path = tmp_path / "glutton.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), path)
    session = Session(tmp_path, Graph("glutton", path, False), {}, CPU, SessionSettings())
    for _ in range(2):
        with pytest.raises(MemoryError, match="Failed to allocate memory"):
            session.run({"shape": torch.tensor([2**44])}, {"sum": []})
        assert session.run({"shape": torch.tensor([8])}, {"sum": []})["sum"] == 0


def test_nodes_that_another_provider_runs_are_counted_by_operator(exported_tiny: Path) -> None:
    path = export_folder(exported_tiny, "fp32") / "text_encoder.onnx"
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    assert nodes_elsewhere(session, PROVIDERS["cpu"]) == {}
    found = nodes_elsewhere(session, PROVIDERS["cuda"])
    assert found.keys() == {PROVIDERS["cpu"]}
    assert found[PROVIDERS["cpu"]]["LayerNormalization"] > 0
    assert HEAVY & found[PROVIDERS["cpu"]].keys()


@pytest.mark.parametrize(
    ("backend", "precision", "provider", "message"),
    [
        ("auto", "fp16", "cpu", "holds no fp16 export"),
        ("auto", "fp32", "tensorrt", "tensorrt does not run on the device cpu"),
        ("onnx", "fp32", "cuda", "cuda does not run on the device cpu"),
        ("onnx", "int8", "cpu", r"no int8 export; make one: python -m model_export\.onnx"),
        ("onnx", "fp8", "cpu", "unknown precision 'fp8'; available: fp32, fp16, int8"),
    ],
)
def test_what_is_asked_for_and_is_not_there_is_an_error_and_no_fall_back(
    exported_tiny: Path, backend: str, precision: str, provider: str, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(
            exported_tiny,
            backend=backend,
            precision=precision,
            sessions=SessionSettings(provider=provider),
        )


@pytest.mark.parametrize(
    ("provider", "device", "message"),
    [
        ("tensorrt", "cuda", r"no TensorrtExecutionProvider, only .*worker-gpu"),
        ("gpu", "cpu", "unknown provider 'gpu'; available: cpu, cuda, tensorrt"),
    ],
)
def test_a_provider_that_is_missing_is_named(provider: str, device: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        chosen_provider(provider, torch.device(device))
