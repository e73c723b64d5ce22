"""Writing a bundle: the diffusers directory layout that ``diffusion.bundle`` loads."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from diffusion.codec import PatchPCACodec
from diffusion.schedule import PredictionType
from model_export.network import Networks

NOTICES = Path(__file__).parent / "notices"


@dataclass(frozen=True)
class Process:
    """The forward process a model is trained on, under diffusers' names."""

    prediction_type: PredictionType = "sample"
    beta_schedule: str = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000

    def config(self) -> dict[str, Any]:
        """Return ``scheduler_config.json``."""
        return {
            "_class_name": "DPMSolverMultistepScheduler",
            "_diffusers_version": version("diffusers"),
            "algorithm_type": "dpmsolver++",
            "beta_schedule": self.beta_schedule,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "num_train_timesteps": self.num_train_timesteps,
            "prediction_type": self.prediction_type,
            "use_karras_sigmas": True,
        }


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say; ``sfumato.json``."""

    name: str = "emoji"
    title: str = "Emoji"
    default_sampler: str = "dpmpp_2m"
    default_steps: int = 15
    default_guidance_scale: float = 2.0
    languages: tuple[str, ...] = ("en", "zh")
    examples: tuple[str, ...] = ()


def write_bundle(
    folder: Path,
    networks: Networks,
    tokenizer: PreTrainedTokenizerFast,
    codec: PatchPCACodec,
    process: Process,
    defaults: Defaults,
) -> Path:
    """Write a bundle, weights in float16, and return its folder.

    It is written beside the folder first and takes its place when whole; a model card or licence
    that was there is kept.
    """
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    _save_networks(fresh, networks)
    tokenizer.save_pretrained(str(fresh / "tokenizer"))
    _save_codec(fresh / "vae", codec)
    _write(fresh / "scheduler" / "scheduler_config.json", process.config())
    _write(fresh / "sfumato.json", _sfumato(defaults, networks.settings.sample_size, codec))
    _write(fresh / "model_index.json", _index())
    for notice in sorted(NOTICES.iterdir()):
        shutil.copyfile(notice, fresh / notice.name)
    if (folder / "README.md").exists():
        shutil.copyfile(folder / "README.md", fresh / "README.md")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return folder


def _save_networks(folder: Path, networks: Networks) -> None:
    for name in ("unet", "text_encoder"):
        part = getattr(networks, name)
        dtype = next(part.parameters()).dtype
        part.half().save_pretrained(str(folder / name))
        part.to(dtype)


def _save_codec(folder: Path, codec: PatchPCACodec) -> None:
    folder.mkdir()
    state = {key: value.contiguous() for key, value in codec.state_dict().items()}
    save_file(state, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    size = {"patch_size": codec.patch_size, "latent_channels": len(codec.scales)}
    _write(folder / "config.json", {"_class_name": "PatchPCACodec", **size})


def _sfumato(defaults: Defaults, sample_size: int, codec: PatchPCACodec) -> dict[str, Any]:
    # Larger canvases repeat or misplace the emoji; on smaller ones it does not fit.
    return {**vars(defaults), "min_side": sample_size * codec.patch_size}


def _index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": version("diffusers"),
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusion.codec", "PatchPCACodec"],
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def as_stored(networks: Networks) -> Networks:
    """Round the weights to float16 and back: what a loaded bundle computes with."""
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.copy_(parameter.half().float())
    return networks
