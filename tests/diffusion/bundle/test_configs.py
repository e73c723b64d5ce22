"""No key of a configuration that changes the images is passed over."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig

from diffusion.bundle.bundle import load_bundle
from diffusion.config import Table, fault
from diffusion.config_keys import PIXEL_UNET, TEXT_ENCODER, UNET, VAE
from diffusion.errors import BundleError
from diffusion.schedules.keys import VP, VP_SCHEDULERS
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sdxl

FILES = {
    "scheduler": "scheduler/scheduler_config.json",
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "text": "text_encoder/config.json",
    "index": "model_index.json",
}


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl(tmp_path_factory.mktemp("layouts") / "sdxl")


def with_values(folder: Path, name: str, values: dict[str, Any], *dropped: str) -> Path:
    """Set and drop keys of a file; return the folder."""
    path = folder / FILES[name]
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in config.items() if k not in dropped}))
    return folder


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("index", {"scheduler": ["diffusers", "VQDiffusionScheduler"]}, "'VQDiffusionScheduler'"),
        ("index", {"scheduler": ["diffusers", "RePaintScheduler"]}, "scheduler 'RePaintScheduler'"),
        ("index", {"scheduler": ["diffusers", "CosineDPMSolverMultistepScheduler"]}, "scheduler"),
        ("scheduler", {"prediction_type": "flow_prediction"}, "'flow_prediction'"),
        ("scheduler", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ("scheduler", {"use_flow_sigmas": True}, "use_flow_sigmas with prediction_type 'epsilon'"),
        ("scheduler", {"use_dynamic_shifting": True}, "use_dynamic_shifting True"),
        ("scheduler", {"shift": 3.0}, "shift 3.0"),
        ("scheduler", {"sigma_data": 0.5}, "sigma_data 0.5"),
        ("scheduler", {"sigma_max": "high"}, "sigma_max 'high'"),
        ("scheduler", {"timestep_type": "random"}, "timestep_type 'random'"),
        ("scheduler", {"timestep_scaling": 1.0}, "timestep_scaling 1.0"),
        ("scheduler", {"clip_sample": 1}, "clip_sample 1"),
        ("scheduler", {"clip_sample_range": -1.0}, "clip_sample_range -1.0"),
        ("scheduler", {"thresholding": True}, "thresholding True"),
        ("scheduler", {"variance_type": "learned_range"}, "variance_type 'learned_range'"),
        ("scheduler", {"invert_sigmas": True}, "invert_sigmas True"),
        ("scheduler", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("scheduler", {"num_train_timesteps": 10**9}, "num_train_timesteps 1000000000"),
        ("unet", {"time_cond_proj_dim": 2}, "time_cond_proj_dim 2"),
        ("unet", {"attention_type": "gated"}, "attention_type 'gated'"),
        ("unet", {"class_embeddings_concat": True}, "class_embeddings_concat True"),
        ("unet", {"guidance_embeds": True}, "the key 'guidance_embeds' is unknown"),
        ("unet", {"layers_per_block": 10**6}, "layers_per_block 1000000"),
        ("unet", {"block_out_channels": [10**7, 16]}, "block_out_channels"),
        ("unet", {"block_out_channels": [17, 16]}, "unet"),
        ("unet", {"act_fn": "nonsense"}, "unet/config.json"),
        ("vae", {"latents_mean": [0.1, 0.2, 0.3, 0.4]}, "latents_mean"),
        ("vae", {"latents_std": [1.0, 1.0, 1.0, 1.0]}, "latents_std"),
        ("vae", {"scaling_factor": 0}, "scaling_factor 0"),
        ("vae", {"latent_magnitude": 3}, "the key 'latent_magnitude' is unknown"),
        ("text", {"architectures": ["T5EncoderModel"]}, "architectures"),
        ("text", {"is_decoder": True}, "is_decoder True"),
        ("text", {"rope_theta": 10}, "the key 'rope_theta' is unknown"),
        ("text", {"num_hidden_layers": 10**6}, "num_hidden_layers 1000000"),
        ("text", {"vocab_size": 100}, "has a token 514, and the text encoder knows 100"),
        ("index", {"_class_name": "HunyuanDiTPipeline"}, "_class_name 'HunyuanDiTPipeline'"),
        ("index", {"transformer": ["diffusers", "FluxTransformer2DModel"]}, "transformer"),
        ("index", {"requires_aesthetics_score": True}, "requires_aesthetics_score True"),
        ("index", {"text_encoder_2": None}, "text_encoder_2 is there, but not named"),
        ("index", {"force_zeros_for_empty_prompt": "yes"}, "force_zeros_for_empty_prompt 'yes'"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    sdxl_folder: Path, tmp_path: Path, name: str, values: dict[str, Any], named: str
) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "m"))
    with pytest.raises(BundleError) as refused:
        load_bundle(with_values(folder, name, values))
    message = str(refused.value)
    assert named in message
    assert "\n" not in message
    file = "tokenizer/tokenizer.json" if "token" in named else FILES[name]
    assert message.startswith(file)


def test_a_scheduler_that_its_own_file_alone_names_is_refused_by_name(
    sdxl_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "m"))
    with_values(folder, "index", {}, "scheduler")
    with_values(folder, "scheduler", {"_class_name": "RePaintScheduler"})
    with pytest.raises(BundleError, match="_class_name 'RePaint"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("unet", "_class_name"),
        ("unet", "sample_size"),
        ("unet", "in_channels"),
        ("unet", "block_out_channels"),
        ("unet", "cross_attention_dim"),
        ("vae", "_class_name"),
        ("vae", "block_out_channels"),
        ("text", "architectures"),
        ("text", "hidden_size"),
        ("text", "max_position_embeddings"),
        ("text", "vocab_size"),
    ],
)
def test_a_key_that_is_missing_is_named(
    sdxl_folder: Path, tmp_path: Path, name: str, key: str
) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "m"))
    with pytest.raises(BundleError, match=f"{FILES[name]}.*({key}|None is not served)"):
        load_bundle(with_values(folder, name, {}, key))


@pytest.mark.parametrize("key", ["patch_size", "latent_channels"])
def test_a_key_that_our_codec_lacks_is_named(tmp_path: Path, key: str) -> None:
    folder = tiny_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match=f"vae/config.json.* does not say {key}"):
        load_bundle(with_values(folder, "vae", {}, key))


def test_a_second_encoder_that_the_unet_does_not_fit_is_refused(
    sdxl_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "m"))
    with_values(folder, "unet", {"addition_time_embed_dim": 4})
    with pytest.raises(BundleError, match=r"input_dim is 80, .* make 56"):
        load_bundle(folder)


@pytest.mark.parametrize("name", VP_SCHEDULERS)
def test_schedulers_that_only_choose_a_sampler_are_taken(name: str) -> None:
    kind = getattr(diffusers, name, None)
    if kind is None:  # needs a library that is not installed
        pytest.skip(f"{name} cannot be made here")
    made = inspect.signature(kind.__init__).parameters
    config = {key: p.default for key, p in made.items() if key != "self"}
    config = json.loads(json.dumps(config)) | {"_class_name": name, "clip_sample": False}
    assert fault(config, VP) is None


@pytest.mark.parametrize(
    ("table", "library"),
    [
        (UNET, set(inspect.signature(UNet2DConditionModel.__init__).parameters) - {"self"}),
        (PIXEL_UNET, set(inspect.signature(UNet2DModel.__init__).parameters) - {"self"}),
        (VAE, set(inspect.signature(AutoencoderKL.__init__).parameters) - {"self"}),
        (TEXT_ENCODER, {k for k in CLIPTextConfig().to_dict() if not k.startswith("_")}),
    ],
    ids=["unet", "pixel_unet", "vae", "text_encoder"],
)
def test_the_tables_have_every_key_of_the_libraries(table: Table, library: set[str]) -> None:
    assert library - table.keys() == set()
