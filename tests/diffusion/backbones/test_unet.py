"""The UNet family: what each kin takes beside latents and prompts, and what is refused by name."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_text2img import (
    LatentConsistencyModelPipeline,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler

from diffusion.backbones.backbone import Condition, predict
from diffusion.backbones.unet import guidance_embedding
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import BundleError
from diffusion.model import Conditioning
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import sampling_levels
from model_export.evaluation.measures import psnr_db
from model_export.evaluation.sampling import SamplingSettings, draw
from tests.bundles import set_scheduler
from tests.exports import both, exported
from tests.layouts.unet_family import GUIDANCE_DIM, lcm, lcm_xl, sd15, sdxl

SCALES = (1.0, 1.7, 7.3, 8.5, 30.0)


@pytest.mark.parametrize("dim", [8, 9, 256])
def test_the_guidance_scale_is_embedded_bit_for_bit_as_in_diffusers(dim: int) -> None:
    embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
    theirs = [embed(None, torch.tensor(scale - 1).repeat(1), embedding_dim=dim) for scale in SCALES]
    assert torch.equal(guidance_embedding(SCALES, dim), torch.cat(theirs))


def conditions(bundle: Bundle, pooled: bool) -> list[Condition]:
    generator = torch.Generator().manual_seed(1)
    width = 64 if pooled else 32

    def prompt() -> Conditioning:
        states = torch.randn(77, width, generator=generator)
        return Conditioning(states, torch.randn(32, generator=generator) if pooled else None)

    return [Condition(prompt(), (32, 32), scale) for scale in SCALES]


@pytest.mark.parametrize("layout", [lcm, lcm_xl])
def test_a_consistency_model_is_given_each_row_s_scale(layout: Any, tmp_path: Path) -> None:
    folder = layout(tmp_path / "m")
    bundle = load_bundle(folder)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True).eval()
    rows = conditions(bundle, pooled=layout is lcm_xl)
    sample, times = torch.randn(len(rows), 4, 16, 16), torch.linspace(999, 19, len(rows))
    added = None
    if layout is lcm_xl:
        text_embeds = torch.stack([r.prompt.pooled for r in rows if r.prompt.pooled is not None])
        ids = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]] * len(rows))
        added = {"text_embeds": text_embeds, "time_ids": ids}
    with torch.inference_mode():
        wanted = unet(
            sample,
            times,
            torch.stack([row.prompt.embeddings for row in rows]),
            timestep_cond=guidance_embedding(SCALES, GUIDANCE_DIM),
            added_cond_kwargs=added,
        ).sample
        found = predict(bundle.backbone, sample, times, rows)
        other = predict(bundle.backbone, sample, times, rows[::-1])
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(other, wanted, atol=1e-2)


def test_a_consistency_model_takes_one_pass_and_its_own_defaults(tmp_path: Path) -> None:
    info = load_bundle(lcm(tmp_path / "m")).info
    assert info.embeds_guidance
    assert (info.default_steps, info.default_guidance_scale) == (4, 8.5)


@pytest.mark.full
@pytest.mark.parametrize("layout", [lcm, lcm_xl])
def test_an_exported_consistency_model_draws_the_same(layout: Any, tmp_path: Path) -> None:
    folder = exported(layout(tmp_path / "m"), tmp_path / "e")
    settings = SamplingSettings(sampler="lcm", steps=4, guidance_scale=7.3)
    theirs, ours = (next(iter(draw(b, ["a cat"], [3], settings))) for b in both(folder))
    assert psnr_db(ours[None], theirs[None]).min() > 50


def with_values(folder: Path, name: str, **values: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"encoder_hid_dim": 64}, "encoder_hid_dim"),
        ({"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 64}, "encoder_hid_dim_type"),
        ({"class_embed_type": "projection"}, "class_embed_type"),
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"num_class_embeds": 4}, "num_class_embeds"),
        ({"addition_embed_type": "text_image"}, "'text_image'"),
        ({"addition_embed_type": "image_hint"}, "'image_hint'"),
        ({"attention_type": "gated-text-image"}, "attention_type"),
        ({"in_channels": 9}, "takes 9 channels and gives 4"),
        ({"in_channels": 8}, "takes 8 channels and gives 4"),
        ({"out_channels": 8}, "takes 4 channels and gives 8"),
        ({"cross_attention_dim": [32, 32]}, "cross_attention_dim"),
        ({"num_attention_heads": 4}, "num_attention_heads"),
        ({"dual_cross_attention": True}, "dual_cross_attention True"),
        ({"time_cond_proj_dim": 2}, "time_cond_proj_dim 2"),
        ({"time_cond_proj_dim": True}, "time_cond_proj_dim True"),
        ({"time_embedding_type": "learned"}, "learned does not exist"),
    ],
)
def test_a_unet_that_takes_something_else_is_refused_by_name(
    tmp_path: Path, values: dict[str, Any], named: str
) -> None:
    folder = with_values(sd15(tmp_path / "m"), "unet/config.json", **values)
    with pytest.raises(BundleError, match=r"unet/config\.json") as refused:
        load_bundle(folder)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_refiner_of_sdxl_is_refused_by_name(tmp_path: Path) -> None:
    folder = sdxl(tmp_path / "m")
    with_values(
        folder,
        "model_index.json",
        _class_name="StableDiffusionXLImg2ImgPipeline",
        requires_aesthetics_score=True,
    )
    with pytest.raises(BundleError, match=r"model_index\.json: requires_aesthetics_score"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"only_cross_attention": [True, False]},
        {"mid_block_type": None},
        {"mid_block_type": "UNetMidBlock2D"},
        {"resnet_time_scale_shift": "scale_shift"},
        {"time_embedding_act_fn": "silu", "timestep_post_act": "silu"},
        {"time_embedding_type": "fourier", "time_embedding_dim": 64},
        {"conv_in_kernel": 5, "conv_out_kernel": 1},
        {"center_input_sample": True, "flip_sin_to_cos": False, "freq_shift": 1},
        {"addition_embed_type": "text", "addition_embed_type_num_heads": 4},
        {"cross_attention_norm": "layer_norm"},
        {"resnet_skip_time_act": True, "resnet_out_scale_factor": 2.0},
        {"layers_per_block": [2, 1], "downsample_padding": 0},
        {"attention_head_dim": [2, 8], "use_linear_projection": True, "upcast_attention": True},
        {"class_embeddings_concat": False, "mid_block_scale_factor": 0.5},
        {"act_fn": "gelu", "norm_eps": 1e-3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_other_argument_of_a_unet_is_served(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = sd15(tmp_path / "m", **options)
    bundle = load_bundle(folder)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True).eval()
    rows = conditions(bundle, pooled=False)[:2]
    sample, times = torch.randn(2, 4, 16, 16), torch.tensor([981.0, 21.5])
    with torch.inference_mode():
        wanted = unet(sample, times, torch.stack([r.prompt.embeddings for r in rows])).sample
        found = predict(bundle.backbone, sample, times, rows)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "version", "width"),
    [(sd15, "0.6.0", 128), (sd15, "0.8.1", 128), (sd15, "0.9.0", 32), (sd15, "0.42.1", 32),
     (sdxl, "0.6.0", 32)],
)  # fmt: skip
def test_an_early_file_s_size_is_what_diffusers_takes_it_for(
    layout: Any, version: str, width: int, tmp_path: Path
) -> None:
    folder = with_values(layout(tmp_path / "m"), "unet/config.json", _diffusers_version=version)
    kind = StableDiffusionPipeline if layout is sd15 else StableDiffusionXLPipeline
    with warnings.catch_warnings(action="ignore"):
        theirs = kind.from_pretrained(folder, local_files_only=True)
    assert theirs.unet.config.sample_size * theirs.vae_scale_factor == width
    assert load_bundle(folder).info.width == width


def test_a_schedule_is_amended_as_the_pipelines_of_stable_diffusion_amend_it(
    tmp_path: Path,
) -> None:
    """Its configurations of 2022 have neither ``steps_offset`` nor ``clip_sample``."""
    for layout, clip, first in ((sd15, None, 1.0), (sdxl, 1.0, 0.0)):
        folder = layout(tmp_path / layout.__name__)
        for written in (EulerDiscreteScheduler(timestep_spacing="leading"), DDIMScheduler()):
            set_scheduler(folder, written)
            bundle = load_bundle(folder)
            schedule = bundle.noise_schedule
            clips = isinstance(written, DDIMScheduler)
            assert bundle.clip == (clip if clips else None)
            assert sampling_levels(schedule, "leading", 10).timesteps[-1] == 0
            if schedule.own is not None:
                assert sampling_levels(schedule, OWN, 10).timesteps[-1] == first
