"""PixArt-Σ and PixArt-α: diffusers' own pipelines are the oracle."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from diffusion.backbones.backbone import Condition, predict
from diffusion.backbones.pixart import PIXART, TRANSFORMER
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json
from diffusion.model import Truncation
from diffusion.parts.open import TorchParts
from diffusion.samplers.registry import SAMPLERS
from model_export.onnx.export import export_bundle
from tests.diffusion.backbones.drawing import (
    PROMPTS,
    assert_mixed_equals_solo,
    assert_resumes,
    drawn,
    levels_apart,
    mixed_requests,
    noise,
)
from tests.layouts.transformers import pixart
from tests.workers.harness import Pixels, image_request

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # of diffusers
LONG = PROMPTS[-1]


@pytest.fixture(scope="module")
def sigma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixart(tmp_path_factory.mktemp("layouts") / "sigma")


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixart(tmp_path_factory.mktemp("layouts") / "alpha", alpha=True)


@pytest.fixture(scope="module")
def bundle(sigma: Path) -> Bundle:
    return load_bundle(sigma)


def pipeline_of(folder: Path) -> Any:
    index = json.loads((folder / "model_index.json").read_text())
    sigma = index["_class_name"] == "PixArtSigmaPipeline"
    kind: Any = PixArtSigmaPipeline if sigma else PixArtAlphaPipeline
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by_diffusers(pipeline: Any, prompt: str, **options: Any) -> Pixels:
    width, height = options["width"], options["height"]
    image = pipeline(
        prompt,
        num_inference_steps=options["steps"],
        guidance_scale=options["guidance_scale"],
        negative_prompt=options.get("negative_prompt", ""),
        latents=noise(4, height // 2, width // 2),
        width=width,
        height=height,
        use_resolution_binning=False,
        clean_caption=False,
        output_type="np",
    ).images[0]
    pixels: Pixels = (image * 255).round().astype(np.uint8)
    return pixels


def test_layout_says_what_the_model_is(bundle: Bundle, alpha: Path) -> None:
    info = bundle.info
    assert (info.width, info.height, info.latent_channels) == (32, 32, 4)
    assert (info.latent_scale_factor, info.side_multiple, info.max_side) == (2, 4, 64)
    assert (info.default_steps, info.default_guidance_scale) == (20, 4.5)
    assert load_bundle(alpha).info.width == 256


def test_prompts_are_encoded_as_the_pipelines_encode_them(
    bundle: Bundle, sigma: Path, alpha: Path
) -> None:
    for folder, tokens in ((sigma, 300), (alpha, 120)):
        ours = load_bundle(folder).encode_prompts(PROMPTS, alone=True)
        pipeline = pipeline_of(folder)
        for prompt, found in zip(PROMPTS, ours, strict=True):
            with torch.inference_mode():
                states, mask, *_ = pipeline.encode_prompt(prompt, False)
            assert found.embeddings.shape == (tokens, 32)
            assert torch.equal(found.embeddings, states[0])
            assert found.tokens == int(mask.sum())
        read = tokens - 1  # the last one is the end's
        assert ours[0].truncations == ()
        (cut,) = ours[-1].truncations
        assert (cut.encoder, cut.read) == ("text_encoder", read)
        assert cut.tokens > read
        assert isinstance(cut, Truncation)


def test_each_row_is_the_transformer_s_own_whatever_is_beside_it(sigma: Path, alpha: Path) -> None:
    for folder in (sigma, alpha):
        bundle, pipeline = load_bundle(folder), pipeline_of(folder)
        sizes = [(32, 32), (32, 32), (64, 16), (16, 64)]
        prompts = bundle.encode_prompts(PROMPTS)
        conditions = [Condition(p, size) for p, size in zip(prompts, sizes, strict=True)]
        sample = torch.randn(4, 4, 8, 12, generator=torch.Generator().manual_seed(0))
        timesteps = torch.tensor([999.0, 500.25, 20.0, 0.0])
        with torch.inference_mode():
            found = predict(bundle.backbone, sample, timesteps, conditions)
            for row, (prompt, (width, height)) in enumerate(zip(PROMPTS, sizes, strict=True)):
                states, mask, *_ = pipeline.encode_prompt(prompt, False)
                wanted = pipeline.transformer(
                    sample[row : row + 1],
                    states,
                    timesteps[row : row + 1],
                    encoder_attention_mask=mask,
                    added_cond_kwargs={
                        "resolution": torch.tensor([[height, width]], dtype=torch.float32),
                        "aspect_ratio": torch.tensor([[height / width]]),
                    },
                ).sample[0, :4]
                assert torch.allclose(found[row], wanted, atol=1e-5), (folder.name, row)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(bundle: Bundle, sigma: Path, dtype: torch.dtype) -> None:
    half = TorchParts(sigma, torch.device("cpu"))
    half.dtype = dtype  # as on an accelerator, where the weights say it
    loaded = PIXART.load(sigma, read_json(sigma / INDEX), half)
    sample = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([999.0, 500.25])
    with torch.inference_mode():
        prompts = loaded.text.encode([*PROMPTS[:2]])
        conditions = [Condition(prompt, (32, 32)) for prompt in prompts]
        found = predict(loaded.backbone(), sample, timesteps, conditions)
        exact = [Condition(prompt, (32, 32)) for prompt in bundle.encode_prompts(PROMPTS[:2])]
        wanted = predict(bundle.backbone, sample, timesteps, exact)
    assert found.dtype == torch.float32
    assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        (DPMSolverMultistepScheduler(beta_schedule="linear"), "dpmpp_2m"),
        (DPMSolverMultistepScheduler(beta_schedule="linear", use_karras_sigmas=True), "dpmpp_2m"),
        (
            EulerDiscreteScheduler(
                beta_schedule="linear", timestep_spacing="leading", steps_offset=1
            ),
            "euler",
        ),
    ],
    ids=["published", "karras", "euler"],
)
def test_sigma_is_drawn_as_diffusers_draws_it(
    sigma: Path, tmp_path: Path, scheduler: Any, sampler: str
) -> None:
    folder = Path(shutil.copytree(sigma, tmp_path / "m"))
    scheduler.save_pretrained(folder / "scheduler")
    named = {"scheduler": ["diffusers", type(scheduler).__name__]}
    changed(folder / "model_index.json", named)
    bundle, pipeline = load_bundle(folder), pipeline_of(folder)
    assert (bundle.info.default_sampler, bundle.info.default_schedule) == (sampler, "model")
    options: dict[str, Any] = {"steps": 8, "guidance_scale": 4.5, "width": 32, "height": 32}
    for prompt in ("A red apple", LONG):
        ours = drawn(bundle, prompt, sampler=sampler, schedule="model", **options)
        assert levels_apart(ours, drawn_by_diffusers(pipeline, prompt, **options)) <= 1
    options |= {"width": 64, "height": 16, "negative_prompt": "blurry"}
    ours = drawn(bundle, "cat", sampler=sampler, schedule="model", **options)
    assert levels_apart(ours, drawn_by_diffusers(pipeline, "cat", **options)) <= 1


def test_alpha_is_drawn_as_diffusers_draws_it(alpha: Path) -> None:
    options = {"steps": 6, "guidance_scale": 4.5, "width": 48, "height": 32}
    ours = drawn(load_bundle(alpha), LONG, sampler="dpmpp_2m", schedule="model", **options)
    assert levels_apart(ours, drawn_by_diffusers(pipeline_of(alpha), LONG, **options)) <= 1


def test_mixed_batch_equals_solo(bundle: Bundle) -> None:
    assert_mixed_equals_solo(bundle, mixed_requests([*SAMPLERS], "model"))


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(bundle: Bundle) -> None:
    assert_resumes(bundle, image_request(prompt=LONG, sampler="dpmpp_2m_sde", steps=5))


def test_what_published_files_say_beside_is_taken(sigma: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sigma, tmp_path / "m"))
    legacy = {
        "_class_name": "Transformer2DModel",
        "double_self_attention": False,
        "only_cross_attention": False,
        "num_vector_embeds": None,
        "use_linear_projection": False,
    }
    changed(folder / "transformer/config.json", legacy)
    path = folder / "transformer/diffusion_pytorch_model.safetensors"
    unused = {"caption_projection.y_embedding": torch.zeros(120, 32)}
    save_file(load_file(path) | unused, path, {"format": "pt"})
    assert load_bundle(folder).info.width == 32


def changed(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("transformer/config.json", {"norm_type": "ada_norm_zero"}, "norm_type 'ada_norm_zero'"),
        ("transformer/config.json", {"attention_type": "gated"}, "attention_type 'gated'"),
        ("transformer/config.json", {"out_channels": 6}, "takes 4 channels and gives 6"),
        ("transformer/config.json", {"caption_channels": 48}, "wants states of 48, .* gives 32"),
        ("transformer/config.json", {"caption_channels": None}, "wants states of 24"),
        ("transformer/config.json", {"cross_attention_dim": 48}, "cross_attention_dim is 48"),
        ("transformer/config.json", {"double_self_attention": True}, "double_self_attention True"),
        ("transformer/config.json", {"sample_size": 15}, "sample_size 15 is no multiple of 2"),
        ("transformer/config.json", {"num_layers": 10**6}, "num_layers 1000000"),
        ("transformer/config.json", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("transformer/config.json", {"activation_fn": "nonsense"}, "transformer/config.json"),
        ("transformer/config.json", {"num_layers": 3}, "weights are missing"),
        ("text_encoder/config.json", {"architectures": ["MT5EncoderModel"]}, "architectures"),
        ("text_encoder/config.json", {"is_decoder": True}, "is_decoder True"),
        ("text_encoder/config.json", {"vocab_size": 50}, "text encoder knows 50"),
        ("text_encoder/config.json", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("model_index.json", {"tokenizer_2": ["transformers", "T5Tokenizer"]}, "tokenizer_2"),
        ("model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]}, "unet"),
        ("model_index.json", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("vae/config.json", {"latent_channels": 16}, "vae"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    sigma: Path, tmp_path: Path, file: str, values: dict[str, Any], named: str
) -> None:
    folder = Path(shutil.copytree(sigma, tmp_path / "m"))
    changed(folder / file, values)
    with pytest.raises(BundleError, match=named) as refused:
        load_bundle(folder)
    message = str(refused.value)
    assert "\n" not in message
    part = "tokenizer" if "vocab_size" in values else file.partition("/")[0]
    assert message.startswith(part)


def test_the_table_has_every_key_of_the_library() -> None:
    library = set(inspect.signature(PixArtTransformer2DModel.__init__).parameters) - {"self"}
    assert library - TRANSFORMER.keys() == set()


def test_an_export_is_refused_by_name(sigma: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="PixArtSigmaPipeline is not exported to ONNX"):
        export_bundle(sigma, "fp32", out=tmp_path / "out")
