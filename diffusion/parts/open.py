"""Loads a bundle's networks: in PyTorch from safetensors, or in ONNX Runtime from an export."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffusion.backends.acceleration import PLAIN, Acceleration
from diffusion.backends.onnx.backend import OnnxBackend, OnnxDecoder, OnnxEncoder, OnnxExport
from diffusion.backends.torch import TorchBackend
from diffusion.codec import Decoder, KLDecoder, PatchPCACodec
from diffusion.config import fault, shown
from diffusion.config_keys import CODEC, VAE
from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json
from diffusion.parts.loading import DIFFUSERS_STEM, described, load_part, one_line
from diffusion.parts.prompt import PROJECTION_DIM, Encoder, TorchEncoder, torch_encoder
from diffusion.parts.tiled import TilingDecoder
from diffusion.parts.unet_config import unet_config
from diffusion.parts.upcast import UpcastDecoder
from diffusion.parts.weights import check_weights, read_weights, stored_dtype
from diffusion.tensor_file import read_header

CODEC_WEIGHTS = f"{DIFFUSERS_STEM}.safetensors"


class TorchParts:
    """A bundle's networks in PyTorch."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype | None = None,
        acceleration: Acceleration = PLAIN,
    ) -> None:
        """Without a ``dtype`` they compute in float32 on the CPU, elsewhere as they are stored."""
        self._folder = folder
        self.device = device
        self.acceleration = acceleration
        self.dtype = torch.float32 if dtype is None and device.type == "cpu" else dtype

    def backend(self) -> TorchBackend:
        """Load the UNet."""
        return TorchBackend(load_unet(self._folder, self.dtype), self.device, self.acceleration)

    def network(self, kind: Any, part: str, config: Mapping[str, Any]) -> Any:
        """Load a network of diffusers' class ``kind``.

        Raises:
            BundleError: it is broken.
        """
        network = load_part(kind, self._folder / part, config, self.dtype)
        network = network.to(self.device).eval().requires_grad_(False)
        self.acceleration.compile(network)
        return network

    def encoder(self, part: str, config: Mapping[str, Any], penultimate: bool) -> Encoder:
        """Load a text encoder."""
        encoder = torch_encoder(self._folder / part, config, self.dtype).to(self.device)
        return TorchEncoder(encoder, penultimate=penultimate)

    def decoder(self) -> tuple[Decoder, int]:
        """Load the codec; return it and the number of pixels per latent."""
        decoder, factor = load_decoder(self._folder, self.device, self.dtype)
        if not isinstance(decoder, KLDecoder):
            return decoder, factor
        tiling = TilingDecoder(decoder)
        if decoder.vae.dtype == torch.float16:
            return upcast(tiling, self._folder, self.device), factor
        return tiling, factor


class OnnxParts:
    """A bundle's networks in ONNX Runtime."""

    def __init__(self, folder: Path, export: OnnxExport, device: torch.device) -> None:
        self._folder = folder
        self._export = export
        self.device = device
        self.acceleration = PLAIN

    def backend(self) -> OnnxBackend:
        """Open the UNet."""
        return OnnxBackend(self._export)

    def encoder(self, part: str, config: Mapping[str, Any], penultimate: bool) -> Encoder:
        """Open a text encoder; which states it returns was fixed by the export."""
        session = self._export.session(part, ("tokens",), "states")
        projected = config.get("projection_dim", PROJECTION_DIM)
        return OnnxEncoder(session, int(config["hidden_size"]), int(projected))

    def decoder(self) -> tuple[Decoder, int]:
        """Open the decoder; return it and the number of pixels per latent."""
        factor = codec_factor(codec_config(self._folder / "vae"))
        decoder = OnnxDecoder(self._export, factor)
        if self._export.precision == "fp16":
            return upcast(decoder, self._folder, self.device), factor
        return decoder, factor


def upcast(half: Decoder, folder: Path, device: torch.device) -> UpcastDecoder:
    """Return a decoder that falls back on the same weights in float32, loaded once needed."""

    def full() -> Decoder:
        decoder, _ = load_decoder(folder, device, torch.float32)
        return TilingDecoder(decoder) if isinstance(decoder, KLDecoder) else decoder

    return UpcastDecoder(half, full)


def load_unet(folder: Path, dtype: torch.dtype | None) -> Any:
    """Load a bundle's UNet as a diffusers module.

    Raises:
        BundleError: it is broken.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return load_part(UNet2DConditionModel, folder / "unet", unet_config(folder), dtype)


def load_decoder(
    folder: Path, device: torch.device, dtype: torch.dtype | None
) -> tuple[Decoder, int]:
    """Load a bundle's codec in torch; return it and the number of pixels per latent.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    config = codec_config(folder / "vae")
    factor = codec_factor(config)
    if config["_class_name"] == "PatchPCACodec":
        return load_codec(folder / "vae").to(device), factor
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    wanted = dtype or stored_dtype(read_weights(folder / "vae", DIFFUSERS_STEM))
    if _of_sdxl(folder) and config.get("force_upcast") and wanted == torch.float16:
        wanted = torch.float32  # SDXL's overflows float16: images came out black
    vae = load_part(AutoencoderKL, folder / "vae", config, wanted).to(device).eval()
    return KLDecoder(vae.requires_grad_(False)).to(device), factor


def load_codec(folder: Path) -> PatchPCACodec:
    """Load our own codec.

    Raises:
        BundleError: it is missing or broken.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = codec_config(folder)
    size = codec_factor(config), int(config["latent_channels"])
    check_weights(
        read_header(folder / CODEC_WEIGHTS), described(folder, lambda: PatchPCACodec(*size))
    )
    codec = PatchPCACodec(*size)
    try:
        codec.load_state_dict(load_file(folder / CODEC_WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder.name}/{CODEC_WEIGHTS}: {one_line(error)}") from error
    return codec.float().requires_grad_(False)


def codec_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a bundle's codec.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    config = read_json(folder / "config.json")
    kind = config.get("_class_name")
    if kind not in ("PatchPCACodec", "AutoencoderKL"):
        raise BundleError(f"{folder.name}/config.json: {shown(kind)} is not served")
    if wrong := fault(config, CODEC if kind == "PatchPCACodec" else VAE):
        raise BundleError(f"{folder.name}/config.json: {wrong}")
    if wrong := _latents_fault(folder, config):
        raise BundleError(f"{folder.name}/config.json: {wrong}")
    return config


def _latents_fault(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the mean and deviation of a codec's latents (SDXL's kin)."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        return "latents_mean and latents_std are of use together only"
    channels = config.get("latent_channels", 4)
    if (len(mean), len(std)) != (channels, channels):
        return f"latents_mean and latents_std are not of {channels} channels"
    if config.get("shift_factor"):
        return "shift_factor beside latents_mean is not served"
    if (folder.parent / INDEX).exists() and not _of_sdxl(folder.parent):
        return "latents_mean is served in models of Stable Diffusion XL alone"
    return None


def _of_sdxl(folder: Path) -> bool:
    return (folder / "unet").is_dir() and (folder / "text_encoder_2").is_dir()


def codec_factor(config: Mapping[str, Any]) -> int:
    """Return the number of pixels per latent from a codec's configuration."""
    if config["_class_name"] == "PatchPCACodec":
        return int(config["patch_size"])
    return int(2 ** (len(config["block_out_channels"]) - 1))
