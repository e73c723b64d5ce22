"""A model, loaded: UNet, text encoder, codec and schedule from the diffusers directory layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.backend import Backend
from diffusion.bundle_files import check_files, digest, read_json
from diffusion.codec import PatchPCACodec
from diffusion.errors import BundleError
from diffusion.model import Conditioning, ModelInfo, apply_overrides
from diffusion.prompt import TextEncoder
from diffusion.schedule import NoiseSchedule
from diffusion.torch_backend import TorchBackend

BACKENDS = ("torch",)


class Bundle:
    """Everything that turns a prompt into a picture, but the sampler."""

    def __init__(
        self,
        info: ModelInfo,
        noise_schedule: NoiseSchedule,
        backend: Backend,
        text: TextEncoder,
        codec: Any,
        device: torch.device,
    ) -> None:
        self.info = info
        self.noise_schedule = noise_schedule
        self.backend = backend
        self.device = device
        self._text = text
        self._codec = codec

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str], *, alone: bool = False) -> list[Conditioning]:
        """Return one conditioning a prompt; ``alone`` encodes each by itself, bit for bit."""
        groups = [[prompt] for prompt in prompts] if alone else [list(prompts)]
        return [c for group in groups if group for c in self._text.encode(group)]

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, alone: bool = False) -> NDArray[np.uint8]:
        """Return pictures (B, H, W, 3) uint8 of latents (B, C, h, w) at sigma 0."""
        groups = torch.split(latents, 1) if alone else [latents]
        pictures = torch.cat([self._decode(group) for group in groups])
        levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        result: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        return result

    def _decode(self, latents: Tensor) -> Tensor:
        if isinstance(self._codec, PatchPCACodec):
            return self._codec.decode(latents)
        config = self._codec.config
        shift = getattr(config, "shift_factor", None) or 0.0
        scaled = (latents / config.scaling_factor + shift).to(self._codec.dtype)
        picture: Tensor = self._codec.decode(scaled, return_dict=False)[0]
        return picture.float()

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, h, w) of a picture's latents."""
        factor = self.info.latent_scale_factor
        return self.info.latent_channels, height // factor, width // factor


def load_bundle(
    folder: Path, *, device: str = "cpu", backend: str = "torch", name: str | None = None
) -> Bundle:
    """Load a model directory: safetensors only, nothing is downloaded.

    On the CPU weights are computed with in float32, elsewhere in the precision they come in.

    Raises:
        BundleError: the folder is not a model we can serve; the message names the file.
    """
    if backend not in BACKENDS:
        raise BundleError(f"unknown backend {backend!r}; there are: {', '.join(BACKENDS)}")
    check_files(folder)
    index = read_json(folder / "model_index.json")
    place = torch.device(device)
    dtype = torch.float32 if place.type == "cpu" else None
    schedule = NoiseSchedule.from_config(read_json(folder / "scheduler" / "scheduler_config.json"))
    unet = _load_unet(folder, dtype)
    zeros = bool(index.get("force_zeros_for_empty_prompt", False))
    text = TextEncoder.load(folder, place, dtype, zeros_for_empty_prompt=zeros)
    codec, factor = _load_codec(folder, place, dtype)
    info = _info(folder, name or folder.name, schedule, unet.config, factor)
    if unet.config.cross_attention_dim != text.width:
        raise BundleError(
            f"unet wants embeddings of {unet.config.cross_attention_dim}, "
            f"the text encoders give {text.width}"
        )
    return Bundle(info, schedule, TorchBackend(unet, place), text, codec, place)


def _load_unet(folder: Path, dtype: torch.dtype | None) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config = read_json(folder / "unet" / "config.json")
    if config.get("_class_name") != "UNet2DConditionModel":
        raise BundleError(f"unet/config.json: {config.get('_class_name')!r} is not served")
    return load_part(UNet2DConditionModel, folder / "unet", dtype)


def load_part(kind: Any, folder: Path, dtype: torch.dtype | None) -> Any:
    """Load one part with its library's own loader, from this folder and safetensors only.

    Raises:
        BundleError: what the loader said, with the part's name.
    """
    variant = None if list(folder.glob("*model.safetensors*")) else "fp16"
    try:
        return kind.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            variant=variant,
            torch_dtype=dtype or _stored_dtype(folder),
            **({"low_cpu_mem_usage": False} if kind.__module__.startswith("diffusers") else {}),
        )
    except Exception as error:  # the loaders raise whatever their parsers raise
        raise BundleError(f"{folder.name}: {error}") from error


def _stored_dtype(folder: Path) -> torch.dtype:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                dtype: torch.dtype = file.get_tensor(key).dtype
                return dtype
    raise BundleError(f"{folder.name} holds no safetensors file")


def _load_codec(folder: Path, device: torch.device, dtype: torch.dtype | None) -> tuple[Any, int]:
    config = read_json(folder / "vae" / "config.json")
    kind = config.get("_class_name")
    if kind == "PatchPCACodec":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            codec = PatchPCACodec(int(config["patch_size"]), int(config["latent_channels"]))
            codec.load_state_dict(load_file(folder / "vae" / "diffusion_pytorch_model.safetensors"))
        except (OSError, KeyError, TypeError, RuntimeError, ValueError, SafetensorError) as error:
            raise BundleError(f"vae: {error}") from error
        return codec.float().to(device).requires_grad_(False), codec.patch_size
    if kind == "AutoencoderKL":
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        vae = load_part(AutoencoderKL, folder / "vae", dtype).to(device).eval()
        return vae.requires_grad_(False), 2 ** (len(vae.config.block_out_channels) - 1)
    raise BundleError(f"vae/config.json: {kind!r} is not served")


def _info(folder: Path, name: str, schedule: NoiseSchedule, unet: Any, factor: int) -> ModelInfo:
    side = int(unet.sample_size) * factor
    downsampling = 2 ** (len(unet.block_out_channels) - 1)
    values: dict[str, Any] = {
        "name": name,
        "title": name,
        "width": side,
        "height": side,
        "latent_channels": int(unet.in_channels),
        "latent_scale_factor": factor,
        "prediction_type": schedule.prediction_type,
        "num_train_timesteps": schedule.num_train_timesteps,
        "sha256": digest(folder),
        "default_steps": 25,
        "default_sampler": "dpmpp_2m",
        "default_guidance_scale": 7.0,
        "min_side": factor * downsampling,
        "max_side": 2 * side,
        "side_multiple": factor * downsampling,
        "max_pixels": 2 * side * side,
    }
    extra = folder / "sfumato.json"
    return apply_overrides(values, read_json(extra) if extra.exists() else {})
