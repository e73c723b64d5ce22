"""Z-Image-Turbo: diffusers' own pipeline is the oracle."""

import inspect
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from diffusers.schedulers.scheduling_flow_match_lcm import FlowMatchLCMScheduler
from torch import Tensor

from diffusion.backbones.backbone import Condition, predict
from diffusion.backbones.layout import Loaded
from diffusion.backbones.z_image import TRANSFORMER, Z_IMAGE
from diffusion.bundle.bundle import load_bundle
from diffusion.config import fault
from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.parts.open import TorchParts
from diffusion.samplers.noise import IMAGES, standard_noise
from diffusion.samplers.registry import SAMPLERS
from model_export.onnx.export import export_bundle
from tests.bundles import set_scheduler
from tests.diffusion.backbones.drawing import (
    PROMPTS,
    SEED,
    assert_mixed_equals_solo,
    assert_resumes,
    by_default,
    drawn,
    levels_apart,
    mixed_requests,
    noise,
)
from tests.diffusion.backbones.flows import by_the_book, decoded
from tests.diffusion.backbones.folders import changed, wrong_refusals
from tests.diffusion.samplers.textbook import LOOPS
from tests.layouts.flows import z_image
from tests.workers.harness import Pixels, image_request

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return z_image(tmp_path_factory.mktemp("layouts") / "z-image")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    parts = TorchParts(folder, CPU)
    parts.dtype = dtype
    return Z_IMAGE.load(folder, read_json(folder / "model_index.json"), parts)


def pipeline_of(folder: Path) -> Any:
    pipeline = ZImagePipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_each_row_is_the_transformer_s_own_whatever_is_beside_it(folder: Path) -> None:
    model, pipeline = loaded(folder), pipeline_of(folder)
    conditions = [Condition(each, (24, 16)) for each in model.text.encode([*PROMPTS])]
    assert len({len(each.prompt.embeddings) for each in conditions}) > 1
    sample = torch.randn(4, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([1000.0, 500.25, 20.0, 0.0])
    found = predict(model.backbone(), sample, timesteps, conditions)
    assert found.dtype == torch.float32
    for row, prompt in enumerate(PROMPTS):
        wanted = predicted(pipeline, prompt, sample[row], timesteps[row])
        assert torch.allclose(found[row], wanted, atol=1e-5), row


def predicted(pipeline: Any, prompt: str, sample: Tensor, t: Tensor) -> Tensor:
    """Return what diffusers' transformer says of one latent, turned as its pipeline turns it."""
    (states,), _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    (output,) = pipeline.transformer([sample[:, None]], (1000 - t[None]) / 1000, [states]).sample
    velocity: Tensor = -output[:, 0]
    return velocity


def test_halves_are_computed_in_and_floats_returned(folder: Path) -> None:
    sample = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    found = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = loaded(folder, dtype)
        prompts = model.text.encode(["a cat", "a" * 90])
        assert {each.embeddings.dtype for each in prompts} == {torch.float32}
        conditions = [Condition(each, (16, 16), 3.5) for each in prompts]
        found[dtype] = predict(model.backbone(), sample, torch.tensor([1000.0, 500.0]), conditions)
        assert found[dtype].dtype == torch.float32
        assert torch.allclose(found[dtype], found[torch.float32], atol=0.2), dtype


def drawn_by_diffusers(pipeline: Any, prompt: str, **options: Any) -> Pixels:
    """Return the pipeline's image; its guidance is ours less 1."""
    width, height = options["width"], options["height"]
    image = pipeline(
        prompt,
        num_inference_steps=options["steps"],
        guidance_scale=options["guidance_scale"] - 1,
        negative_prompt=options.get("negative_prompt", ""),
        latents=noise(16, height // 2, width // 2),
        width=width,
        height=height,
        output_type="np",
    ).images[0]
    pixels: Pixels = (image * 255).round().astype(np.uint8)
    return pixels


def test_images_are_those_of_the_pipeline(folder: Path) -> None:
    bundle, pipeline = load_bundle(folder), pipeline_of(folder)
    guided = by_default(bundle) | {"steps": 5, "width": 48, "height": 16, "guidance_scale": 2.5}
    for prompt, options in (
        ("a red apple", by_default(bundle)),
        ("cat", by_default(bundle, num_inference_steps=7, guidance_scale=2.0)),
        (PROMPTS[-1], guided | {"negative_prompt": "blurry"}),
        ("", guided | {"steps": 1, "width": 16, "height": 64}),
    ):
        theirs = drawn_by_diffusers(pipeline, prompt, **options)
        assert levels_apart(drawn(bundle, prompt, **options), theirs) <= 1, options


def test_another_scheduler_is_followed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It adds noise at each step; here the noise of our rows."""
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    set_scheduler(copy, FlowMatchLCMScheduler(shift=3.0))
    bundle, pipeline = load_bundle(copy), pipeline_of(folder)
    pipeline.scheduler = FlowMatchLCMScheduler.from_pretrained(copy / "scheduler")
    rows = count()
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_flow_match_lcm.randn_tensor",
        lambda shape, **_: torch.from_numpy(standard_noise(SEED, IMAGES, next(rows), shape[1:])),
    )
    options = by_default(bundle, num_inference_steps=4)
    theirs = drawn_by_diffusers(pipeline, "a red apple", **options)
    assert levels_apart(drawn(bundle, "a red apple", **options), theirs) <= 1


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun"])
def test_other_samplers_draw_as_they_are_published(folder: Path, sampler: str) -> None:
    bundle, pipeline = load_bundle(folder), pipeline_of(folder)
    options = {"steps": 6, "width": 32, "height": 48, "guidance_scale": 1.0}
    drawn_by_diffusers(pipeline, "a red apple", **options)  # sets the timesteps
    latents = by_the_book(
        LOOPS[sampler],
        lambda x, t: predicted(pipeline, "a red apple", x, t),
        noise(16, 24, 16)[0],
        pipeline.scheduler.timesteps.tolist(),
    )
    ours = drawn(bundle, "a red apple", sampler=sampler, schedule="model", **options)
    assert levels_apart(ours, decoded(pipeline, latents)) <= 1


def test_mixed_batch_equals_solo(folder: Path) -> None:
    requests = mixed_requests([*SAMPLERS][::2], "model")
    assert_mixed_equals_solo(load_bundle(folder), requests)


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(folder: Path) -> None:
    request = image_request(prompt=PROMPTS[-1], sampler="dpmpp_2m_sde", schedule="model", steps=5)
    assert_resumes(load_bundle(folder), request)


def test_layout_says_what_the_model_takes(folder: Path) -> None:
    model = loaded(folder)
    assert (model.channels, model.side, model.multiple, model.max_side) == (16, 128, 2, 192)
    assert not model.embeds_guidance
    info = load_bundle(folder).info
    assert (info.default_steps, info.default_guidance_scale) == (8, 1.0)
    assert (info.max_side, info.token_side, info.side_multiple) == (384, 4, 4)


def test_a_broken_file_is_named(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    files = (
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
    )
    assert list(wrong_refusals(copy, files, load_bundle)) == []


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("transformer", {"_class_name": "Lumina2Transformer2DModel"}, "_class_name"),
        ("transformer", {"all_patch_size": [2, 4]}, r"all_patch_size \[2, 4\]"),
        ("transformer", {"all_f_patch_size": [2]}, r"all_f_patch_size \[2\]"),
        ("transformer", {"siglip_feat_dim": 1152}, "siglip_feat_dim 1152"),
        ("transformer", {"cap_feat_dim": 48}, "cap_feat_dim is 48, the text encoder gives 32"),
        ("transformer", {"n_kv_heads": 1}, "n_kv_heads 1 is not served, only n_heads, 2"),
        ("transformer", {"axes_dims": [4, 4, 6]}, r"axes_dims \[4, 4, 6\] are not three"),
        ("transformer", {"axes_dims": [4, 5, 7]}, r"axes_dims \[4, 5, 7\] are not three"),
        ("transformer", {"axes_lens": [513, 96, 96]}, "axes_lens .* too few for 512 tokens"),
        ("transformer", {"axes_lens": [600, 96, 63]}, "axes_lens .* too few"),
        ("transformer", {"axes_lens": [600, 96]}, "axes_lens .* too few"),
        ("transformer", {"qk_norm": False}, "weights are unexpected"),
        ("transformer", {"n_layers": 3}, "weights are missing"),
        ("transformer", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("text_encoder", {"use_sliding_window": True}, "use_sliding_window True"),
        ("text_encoder", {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ("text_encoder", {"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ("text_encoder", {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters"),
        ("text_encoder", {"rope_theta": 1_000_000}, "rope_theta is said neither alone nor"),
        ("text_encoder", {"num_key_value_heads": 3}, "is no multiple of num_key_value_heads 3"),
        ("text_encoder", {"head_dim": 7}, "head_dim 7 is odd"),
        ("text_encoder", {"architectures": ["Qwen3MoeForCausalLM"]}, "architectures"),
        ("text_encoder", {"model_type": "qwen2"}, "model_type 'qwen2'"),
        ("text_encoder", {"num_hidden_layers": 4}, "text_encoder/config.json: .*layer_types"),
        ("text_encoder", {"num_hidden_layers": 4, "layer_types": None}, "weights are missing"),
        ("text_encoder", {"zigzag": 1}, "the key 'zigzag' is unknown"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    folder: Path, tmp_path: Path, file: str, values: dict[str, Any], named: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    changed(copy / file / "config.json", values)
    with pytest.raises(BundleError, match=named) as refused:
        loaded(copy).backbone()
    assert str(refused.value).startswith(file)
    assert "\n" not in str(refused.value)


def test_the_published_configuration_is_taken() -> None:
    config = {
        "_class_name": "ZImageTransformer2DModel", "_diffusers_version": "0.36.0.dev0",
        "all_f_patch_size": [1], "all_patch_size": [2], "axes_dims": [32, 48, 48],
        "axes_lens": [1536, 512, 512], "cap_feat_dim": 2560, "dim": 3840, "in_channels": 16,
        "n_heads": 30, "n_kv_heads": 30, "n_layers": 30, "n_refiner_layers": 2, "norm_eps": 1e-05,
        "qk_norm": True, "rope_theta": 256.0, "t_scale": 1000.0,
    }  # fmt: skip
    assert fault(config, TRANSFORMER) is None


def test_the_table_has_every_key_of_the_library() -> None:
    library = set(inspect.signature(ZImageTransformer2DModel.__init__).parameters) - {"self"}
    assert library - TRANSFORMER.keys() == set()


def test_an_export_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="ZImagePipeline is not exported to ONNX"):
        export_bundle(folder, "fp32", out=tmp_path / "out")
