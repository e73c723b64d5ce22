"""A loaded model: UNet, text encoder, codec and schedule from the diffusers directory layout."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.backends.backend import Backend
from diffusion.backends.onnx.backend import OnnxExport
from diffusion.backends.onnx.files import (
    MANIFEST,
    PRECISIONS,
    export_folder,
    has_export,
    read_manifest,
)
from diffusion.backends.onnx.session import SessionSettings
from diffusion.bundle.parts import OnnxParts, TorchParts, codec_config
from diffusion.bundle.prompt import TextEncoder
from diffusion.bundle.unet_config import unet_config
from diffusion.bundle.upcast import decoder_name
from diffusion.codec import Decoder, to_pixels
from diffusion.config import fault, shown
from diffusion.config_keys import MODEL_INDEX
from diffusion.errors import BundleError, NonFiniteError, ScheduleError
from diffusion.files import INDEX, check_files, digest, read_json
from diffusion.model import OF_SAMPLER, Conditioning, ModelInfo, apply_overrides, check_name
from diffusion.samplers.registry import SAMPLERS
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import NoiseSchedule
from diffusion.schedules.scheduler_config import read_schedule

log = logging.getLogger(__name__)
BACKENDS = ("torch", "onnx", "auto")


class Bundle:
    """Everything that turns a prompt into an image, except the sampler."""

    def __init__(
        self,
        info: ModelInfo,
        noise_schedule: NoiseSchedule,
        backend: Backend,
        text: TextEncoder,
        decoder: Decoder,
        device: torch.device,
    ) -> None:
        self.info = info
        self.noise_schedule = noise_schedule
        self.backend = backend
        self.device = device
        self._text = text
        self._decoder = decoder

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str], *, alone: bool = False) -> list[Conditioning]:
        """Return one conditioning per prompt; ``alone`` encodes each by itself, bit for bit."""
        groups = [[prompt] for prompt in prompts] if alone else [list(prompts)]
        return [c for group in groups if group for c in self._text.encode(group)]

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, alone: bool = False) -> NDArray[np.uint8]:
        """Return images (B, H, W, 3) uint8 of latents (B, C, h, w) at sigma 0.

        Raises:
            NonFiniteError: the decoder returned NaN or infinity; the message names it.
        """
        groups = torch.split(latents, 1) if alone else [latents]
        images = torch.cat([self._decoder.decode(group) for group in groups])
        if not isfinite(images.sum()):
            name = decoder_name(self._decoder)
            raise NonFiniteError(f"the decoder ({name}) returned a non-finite value")
        return to_pixels(images)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, h, w) of an image's latents."""
        factor = self.info.latent_scale_factor
        return self.info.latent_channels, height // factor, width // factor


def load_bundle(
    folder: Path,
    *,
    device: str = "cpu",
    backend: str = "torch",
    precision: str = "fp32",
    sessions: SessionSettings | None = None,
    name: str | None = None,
) -> Bundle:
    """Load a model directory: only safetensors and verified ONNX graphs; nothing is downloaded.

    ``name`` overrides the name that ``sfumato.json`` or the folder gives the model.

    On the CPU torch computes in float32, elsewhere in the precision the weights are stored in. The
    backend "auto" is ONNX Runtime if a ``precision`` or a provider asks for it, or on the CPU if
    the bundle holds an export and the runtime is installed; otherwise it is torch.

    Raises:
        BundleError: the folder is not a model we can serve (the message names the file), or the
            device, the provider or the export is not available.
    """
    if backend not in BACKENDS:
        raise BundleError(f"unknown backend {backend!r}; available: {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BundleError(f"unknown precision {precision!r}; available: {', '.join(PRECISIONS)}")
    check_files(folder)
    place = usable_device(device)
    sha256 = digest(folder)
    sessions = sessions or SessionSettings()
    if backend == "auto":
        asked = precision != "fp32" or sessions.provider != "auto"
        backend = "onnx" if asked or _prefers_onnx(folder, precision, sha256, place) else "torch"
    if backend == "torch":
        return assemble(folder, TorchParts(folder, place), place, sha256, name)
    manifest = read_manifest(folder, precision, sha256)
    path = export_folder(folder, precision)
    export = OnnxExport(folder, path, manifest, place, sessions)
    return assemble(folder, OnnxParts(folder, export, place), place, sha256, name)


def usable_device(name: str) -> torch.device:
    """Return the device of this name.

    Raises:
        BundleError: this machine or this build of torch does not have it.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BundleError(f"the device {name!r} cannot be used: {error}") from error
    return device


def assemble(
    folder: Path,
    parts: TorchParts | OnnxParts,
    device: torch.device,
    sha256: str,
    name: str | None = None,
) -> Bundle:
    """Assemble a bundle from its folder and the networks in ``parts``; ``sha256`` is its digest.

    Raises:
        BundleError: a part is missing, broken or not served.
    """
    index = _index(folder)
    config = unet_config(folder)
    schedule = _noise_schedule(folder)
    zeros = bool(index.get("force_zeros_for_empty_prompt", False))
    text = TextEncoder.load(folder, device, parts.encoder, zeros_for_empty_prompt=zeros)
    decoder, factor = parts.decoder()
    channels = codec_config(folder / "vae").get("latent_channels", 4)
    if channels != config["in_channels"]:
        raise BundleError(
            f"vae/config.json: the codec gives {channels} channels, "
            f"the unet takes {config['in_channels']}"
        )
    info = _info(folder, schedule, config, factor, sha256)
    if name is not None:
        info = replace(info, name=name)
    check_name(info.name)
    if config["cross_attention_dim"] != text.width:
        raise BundleError(
            f"unet/config.json: the unet wants embeddings of {config['cross_attention_dim']}, "
            f"the text encoders give {text.width}"
        )
    _check_added(config, text)
    return Bundle(info, schedule, parts.backend(), text, decoder, device)


def _index(folder: Path) -> dict[str, Any]:
    """Return the bundle's index; its second text encoder, if it names one, has to be there."""
    index = read_json(folder / INDEX)
    if wrong := fault(index, MODEL_INDEX):
        raise BundleError(f"{INDEX}: {wrong}")
    for part in ("text_encoder_2", "tokenizer_2") if "unet" in index else ():
        named = index.get(part) not in (None, [None, None])
        if named != (folder / part).is_dir():
            state = "there, but not named" if not named else "named, but not there"
            raise BundleError(f"{INDEX}: {part} is {state}")
    return index


def _noise_schedule(folder: Path) -> NoiseSchedule:
    try:
        return read_schedule(read_json(folder / "scheduler" / "scheduler_config.json"))
    except ScheduleError as error:
        raise BundleError(f"scheduler/scheduler_config.json: {error}") from error


def _check_added(unet: Mapping[str, Any], text: TextEncoder) -> None:
    """Compare what the UNet takes beside states with what the text encoders give (SDXL)."""
    if unet.get("addition_embed_type") != "text_time":
        return
    if text.pooled_width is None:
        raise BundleError("unet/config.json: text_time needs a second text encoder that projects")
    sines = unet.get("addition_time_embed_dim") or 0
    given, wanted = 6 * sines + text.pooled_width, unet.get("projection_class_embeddings_input_dim")
    if given != wanted:
        raise BundleError(
            f"unet/config.json: projection_class_embeddings_input_dim is {wanted}, "
            f"the pooled prompt and 6 numbers of {sines} sines make {given}"
        )


def _prefers_onnx(folder: Path, precision: str, sha256: str, device: torch.device) -> bool:
    if device.type != "cpu" or not (export_folder(folder, precision) / MANIFEST).exists():
        return False
    if not has_export(folder, precision, sha256):
        log.warning("onnx/%s was exported from other weights; torch runs instead", precision)
        return False
    return all(find_spec(library) is not None for library in ("onnx", "onnxruntime"))


def _info(
    folder: Path,
    schedule: NoiseSchedule,
    unet: Mapping[str, Any],
    factor: int,
    sha256: str,
) -> ModelInfo:
    side = int(unet["sample_size"]) * factor
    downsampling = 2 ** (len(unet["block_out_channels"]) - 1)
    values: dict[str, Any] = {
        "name": folder.absolute().name,
        "title": folder.absolute().name,
        "width": side,
        "height": side,
        "latent_channels": int(unet["in_channels"]),
        "latent_scale_factor": factor,
        "prediction_type": schedule.prediction_type,
        "num_train_timesteps": schedule.num_train_timesteps,
        "sha256": sha256,
        "default_steps": 25,
        "default_sampler": "dpmpp_2m" if schedule.own is None else schedule.own.sampler,
        "default_schedule": OF_SAMPLER if schedule.own is None else OWN,
        "default_guidance_scale": 7.0,
        "min_side": factor * downsampling,
        "max_side": 2 * side,
        "side_multiple": factor * downsampling,
        "max_pixels": 2 * side * side,
    }
    extra = folder / "sfumato.json"
    info = apply_overrides(values, read_json(extra) if extra.exists() else {})
    _check_defaults(info, schedule)
    return info


def _check_defaults(info: ModelInfo, schedule: NoiseSchedule) -> None:
    offered = {name: sampler.offered(schedule) for name, sampler in SAMPLERS.items()}
    known = [name for name, schedules in offered.items() if schedules]
    if info.default_sampler not in known:
        raise BundleError(
            f"sfumato.json: unknown default_sampler {info.default_sampler!r}; "
            f"available: {', '.join(known)}"
        )
    schedules = (*offered[info.default_sampler], OF_SAMPLER)
    if info.default_schedule not in schedules:
        raise BundleError(
            f"sfumato.json: default_schedule {shown(info.default_schedule)} is not one of "
            f"{', '.join(schedules)}, which sampler {info.default_sampler!r} takes"
            + (f"; {OWN!r}: {schedule.not_own}" if info.default_schedule == OWN else "")
        )
