"""FLUX.1 dev and schnell: diffusers' own pipeline is the oracle."""

import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from diffusion.backbones.backbone import Condition, predict
from diffusion.backbones.flux import FLUX, TRANSFORMER
from diffusion.backbones.layout import Loaded
from diffusion.bundle.bundle import load_bundle
from diffusion.config import fault
from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.parts.open import TorchParts
from model_export.onnx.export import export_bundle
from tests.bundles import set_scheduler
from tests.diffusion.backbones.drawing import (
    PROMPTS,
    assert_mixed_equals_solo,
    assert_resumes,
    by_default,
    drawn,
    levels_apart,
    mixed_requests,
    noise,
)
from tests.diffusion.backbones.flows import asked_exactly, by_the_book, decoded
from tests.diffusion.backbones.folders import changed, wrong_refusals
from tests.diffusion.samplers.textbook import LOOPS
from tests.layouts.flows import flux
from tests.workers.harness import Pixels, image_request

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("dev", [True, False], ids=["dev", "schnell"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    place = tmp_path_factory.mktemp("layouts")
    return {dev: flux(place / f"flux-{dev}", dev=dev) for dev in (True, False)}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> Loaded:
    parts = TorchParts(folder, CPU)
    parts.dtype = dtype
    return FLUX.load(folder, read_json(folder / "model_index.json"), parts)


def pipeline_of(folder: Path) -> Any:
    pipeline = FluxPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@BOTH
def test_prompts_are_encoded_as_the_pipeline_encodes_them(
    folders: dict[bool, Path], dev: bool
) -> None:
    text, pipeline = loaded(folders[dev]).text, pipeline_of(folders[dev])
    for prompt in PROMPTS:
        (found,) = text.encode([prompt])
        states, pooled, _ = pipeline.encode_prompt(prompt)
        assert found.embeddings.shape == (512, 32)
        assert torch.equal(found.embeddings, states[0])
        assert found.pooled is not None
        assert torch.equal(found.pooled, pooled[0])
        assert found.tokens is None


def test_each_encoder_says_what_it_did_not_read(folders: dict[bool, Path]) -> None:
    text = loaded(folders[True]).text
    for prompt, cut in (
        (" ".join("a" * 75), []),
        (" ".join("a" * 76), [("text_encoder", 75, 76)]),
        (" ".join("a" * 511), [("text_encoder", 75, 511)]),
        (" ".join("a" * 600), [("text_encoder", 75, 600), ("text_encoder_2", 511, 600)]),
    ):
        (found,) = text.encode([prompt])
        assert [(e.encoder, e.read, e.tokens) for e in found.truncations] == cut


@BOTH
def test_each_row_is_the_transformer_s_own_whatever_is_beside_it(
    folders: dict[bool, Path], dev: bool
) -> None:
    model, pipeline = loaded(folders[dev]), pipeline_of(folders[dev])
    scales = [3.5, 1.0, 30.0, 2.25]
    conditions = [
        Condition(each, (24, 16), scale)
        for each, scale in zip(model.text.encode([*PROMPTS]), scales, strict=True)
    ]
    sample = torch.randn(4, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([1000.0, 500.25, 20.0, 0.0])
    found = predict(model.backbone(), sample, timesteps, conditions)
    assert found.dtype == torch.float32
    for row, (prompt, scale) in enumerate(zip(PROMPTS, scales, strict=True)):
        wanted = predicted(pipeline, prompt, sample[row], timesteps[row], scale if dev else None)
        assert torch.allclose(found[row], wanted, atol=1e-5), row
    if dev:
        assert (found[0] - found[2]).abs().max() > 0.01


def predicted(pipeline: Any, prompt: str, sample: Tensor, t: Tensor, scale: float | None) -> Tensor:
    """Return what diffusers' transformer says of one latent, packed by its pipeline."""
    states, pooled, text_ids = pipeline.encode_prompt(prompt)
    channels, height, width = sample.shape
    velocity = pipeline.transformer(
        hidden_states=pipeline._pack_latents(sample[None], 1, channels, height, width),
        timestep=t[None] / 1000,
        guidance=None if scale is None else torch.tensor([scale]),
        pooled_projections=pooled,
        encoder_hidden_states=states,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(1, height // 2, width // 2, CPU, torch.float32),
    ).sample
    unpacked: Tensor = pipeline._unpack_latents(velocity, 2 * height, 2 * width, 2)[0]
    return unpacked


def test_halves_are_computed_in_and_floats_returned(folders: dict[bool, Path]) -> None:
    sample = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    found = {}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        model = loaded(folders[True], dtype)
        prompts = model.text.encode(["a cat", "a" * 90])
        assert {each.embeddings.dtype for each in prompts} == {torch.float32}
        conditions = [Condition(each, (16, 16), 3.5) for each in prompts]
        found[dtype] = predict(model.backbone(), sample, torch.tensor([1000.0, 500.0]), conditions)
        assert found[dtype].dtype == torch.float32
        assert torch.allclose(found[dtype], found[torch.float32], atol=0.2), dtype


def drawn_by_diffusers(pipeline: Any, prompt: str, dev: bool, **options: Any) -> Pixels:
    """Return the pipeline's image; a scale that schnell has no input for is its true guidance."""
    width, height, scale = options["width"], options["height"], options["guidance_scale"]
    negative = options.get("negative_prompt", "")
    start = noise(16, height // 2, width // 2)
    image = pipeline(
        prompt,
        num_inference_steps=options["steps"],
        **({"guidance_scale": scale} if dev else {}),
        **({} if dev else {"true_cfg_scale": scale, "negative_prompt": negative}),
        latents=pipeline._pack_latents(start, 1, *start.shape[1:]),
        width=width,
        height=height,
        output_type="np",
    ).images[0]
    pixels: Pixels = (image * 255).round().astype(np.uint8)
    return pixels


@BOTH
def test_images_are_those_of_the_pipeline(folders: dict[bool, Path], dev: bool) -> None:
    bundle, pipeline = load_bundle(folders[dev]), pipeline_of(folders[dev])
    guided = by_default(bundle) | {"steps": 5, "width": 48, "height": 16, "guidance_scale": 2.5}
    for prompt, options in (
        ("a red apple", by_default(bundle)),
        ("cat", by_default(bundle, num_inference_steps=7, guidance_scale=2.0)),
        (PROMPTS[-1], guided | {"negative_prompt": "" if dev else "blurry"}),
        ("", guided | {"steps": 1, "width": 16, "height": 64, "guidance_scale": 1.0}),
    ):
        theirs = drawn_by_diffusers(pipeline, prompt, dev, **options)
        assert levels_apart(drawn(bundle, prompt, **options), theirs) <= 1, options


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers
@BOTH
@pytest.mark.parametrize("kind", [DPMSolverMultistepScheduler, UniPCMultistepScheduler])
def test_another_scheduler_is_followed(
    folders: dict[bool, Path], tmp_path: Path, dev: bool, kind: Any
) -> None:
    folder = Path(shutil.copytree(folders[dev], tmp_path / "m"))
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    set_scheduler(folder, kind(**flow, use_dynamic_shifting=True))
    bundle, pipeline = load_bundle(folder), pipeline_of(folders[dev])
    pipeline.scheduler = asked_exactly(kind.from_pretrained(folder / "scheduler"))
    options = by_default(bundle, num_inference_steps=6, width=48)
    assert options["schedule"] == "model"
    theirs = drawn_by_diffusers(pipeline, "a red apple", dev, **options)
    assert levels_apart(drawn(bundle, "a red apple", **options), theirs) <= 1


@BOTH
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun"])
def test_other_samplers_draw_as_they_are_published(
    folders: dict[bool, Path], dev: bool, sampler: str
) -> None:
    bundle, pipeline = load_bundle(folders[dev]), pipeline_of(folders[dev])
    options = {"steps": 6, "width": 32, "height": 48, "guidance_scale": 3.0 if dev else 1.0}
    drawn_by_diffusers(pipeline, "a red apple", dev, **options)  # sets the timesteps
    scale = options["guidance_scale"] if dev else None
    latents = by_the_book(
        LOOPS[sampler],
        lambda x, t: predicted(pipeline, "a red apple", x, t, scale),
        noise(16, 24, 16)[0],
        pipeline.scheduler.timesteps.tolist(),
    )
    ours = drawn(bundle, "a red apple", sampler=sampler, schedule="model", **options)
    assert levels_apart(ours, decoded(pipeline, latents)) <= 1


@BOTH
def test_mixed_batch_equals_solo(folders: dict[bool, Path], dev: bool) -> None:
    requests = mixed_requests(["euler", "dpmpp_2m_sde", "heun", "lcm", "unipc", "dpm2"], "model")
    assert_mixed_equals_solo(load_bundle(folders[dev]), requests)


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(folders: dict[bool, Path]) -> None:
    request = image_request(prompt=PROMPTS[-1], sampler="dpmpp_2m_sde", schedule="model", steps=5)
    assert_resumes(load_bundle(folders[True]), request)


def test_layout_says_what_the_model_takes(folders: dict[bool, Path]) -> None:
    for dev, guidance, steps in ((True, 3.5, 28), (False, 1.0, 4)):
        model = loaded(folders[dev])
        assert (model.channels, model.side, model.multiple, model.max_side) == (16, 128, 2, None)
        assert model.embeds_guidance == dev
        info = load_bundle(folders[dev]).info
        assert (info.default_guidance_scale, info.default_steps) == (guidance, steps)
        assert (info.embeds_guidance, info.token_side, info.side_multiple) == (dev, 4, 4)
        assert info.image_tokens(48, 32) == 12 * 8


def test_a_broken_file_is_named(folders: dict[bool, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[True], tmp_path / "m"))
    files = (
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder_2/model.safetensors",
    )
    assert list(wrong_refusals(folder, files, load_bundle)) == []


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("transformer", {"_class_name": "Flux2Transformer2DModel"}, "_class_name"),
        ("transformer", {"in_channels": 384, "out_channels": 64}, "takes 384 channels and gives"),
        ("transformer", {"in_channels": 66}, "in_channels 66 are not those of patches"),
        ("transformer", {"patch_size": 2}, "patch_size 2"),
        ("transformer", {"guidance_embeds": "yes"}, "guidance_embeds 'yes'"),
        ("transformer", {"guidance_embeds": False}, "weights are unexpected"),
        ("transformer", {"joint_attention_dim": 48}, "is 48, text_encoder_2 gives 32"),
        ("transformer", {"pooled_projection_dim": 48}, "is 48, text_encoder gives 32"),
        ("transformer", {"axes_dims_rope": [4, 6, 8]}, r"\[4, 6, 8\] are not .* of the sum 16"),
        ("transformer", {"axes_dims_rope": [10, 6]}, r"\[10, 6\] are not three"),
        ("transformer", {"attention_head_dim": 128}, "transformer"),
        ("transformer", {"num_single_layers": 3}, "weights are missing"),
        ("transformer", {"num_layers": 10**6}, "num_layers 1000000"),
        ("transformer", {"quantization_config": {"quant_method": "bnb"}}, "quantization_config"),
        ("transformer", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("text_encoder", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("text_encoder", {"architectures": ["T5EncoderModel"]}, "architectures"),
        ("text_encoder_2", {"architectures": ["CLIPTextModel"]}, "architectures"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    folders: dict[bool, Path], tmp_path: Path, file: str, values: dict[str, Any], named: str
) -> None:
    folder = Path(shutil.copytree(folders[True], tmp_path / "m"))
    changed(folder / file / "config.json", values)
    with pytest.raises(BundleError, match=named) as refused:
        loaded(folder).backbone()
    assert str(refused.value).startswith(file)
    assert "\n" not in str(refused.value)


@BOTH
def test_the_published_configuration_is_taken(dev: bool) -> None:
    config = {
        "_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0.dev0",
        "_name_or_path": "../checkpoints/flux/transformer", "attention_head_dim": 128,
        "guidance_embeds": dev, "in_channels": 64, "joint_attention_dim": 4096,
        "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38, "patch_size": 1,
        "pooled_projection_dim": 768,
    }  # fmt: skip
    later = {"axes_dims_rope": [16, 56, 56], "out_channels": None}
    assert fault(config, TRANSFORMER) is None
    assert fault(config | later, TRANSFORMER) is None


def test_the_table_has_every_key_of_the_library() -> None:
    library = set(inspect.signature(FluxTransformer2DModel.__init__).parameters) - {"self"}
    assert library - TRANSFORMER.keys() == set()


def test_an_export_is_refused_by_name(folders: dict[bool, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="FluxPipeline is not exported to ONNX"):
        export_bundle(folders[True], "fp32", out=tmp_path / "out")
