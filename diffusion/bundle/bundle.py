"""A loaded model: network, text encoders, codec and schedule from the diffusers layout."""

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

from diffusion.backbones.backbone import Backbone
from diffusion.backbones.layout import (
    Layout,
    Loaded,
    PromptEncoder,
    WeightedPromptEncoder,
    of_named_class,
)
from diffusion.backbones.layouts import layout_of
from diffusion.backends.acceleration import PLAIN, Acceleration
from diffusion.backends.backend import DTYPES
from diffusion.backends.onnx.backend import OnnxExport
from diffusion.backends.onnx.files import (
    MANIFEST,
    PRECISIONS,
    export_folder,
    has_export,
    read_manifest,
)
from diffusion.backends.onnx.session import SessionSettings
from diffusion.bundle.contents import notes
from diffusion.codec import Decoder, PixelDecoder, to_pixels
from diffusion.config import shown
from diffusion.denoiser import ForwardPass, advance
from diffusion.device import usable_device
from diffusion.errors import BundleError, NonFiniteError, PromptError, ScheduleError
from diffusion.files import INDEX, SCHEDULER_CONFIG, check_files, digest, part_folder, read_json
from diffusion.model import OF_SAMPLER, Conditioning, ModelInfo, apply_overrides, check_name
from diffusion.parts.open import OnnxParts, TorchParts, codec_config
from diffusion.parts.tiled import in_tiles
from diffusion.parts.upcast import decoder_name
from diffusion.parts.weighted_prompt import Weighting
from diffusion.samplers.registry import SAMPLERS
from diffusion.schedules.clip import estimate_bound
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import NoiseSchedule
from diffusion.schedules.scheduler_config import read_schedule
from diffusion.schedules.vp import VPSchedule

log = logging.getLogger(__name__)
BACKENDS = ("torch", "onnx", "auto")
FURTHER_PARTS = ("text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")


class Bundle:
    """Everything that turns a prompt into an image, except the sampler."""

    def __init__(
        self,
        info: ModelInfo,
        noise_schedule: NoiseSchedule,
        backbone: Backbone,
        text: PromptEncoder,
        decoder: Decoder,
        device: torch.device,
        clip: float | None = None,
        *,
        zeros_for_none: bool = False,
        acceleration: Acceleration = PLAIN,
    ) -> None:
        """Zeros may stand for no negative prompt; ``clip`` bounds the estimate to ± this."""
        self.info = info
        self.noise_schedule = noise_schedule
        self.backbone = backbone
        self.device = device
        self.clip = clip
        self.acceleration = acceleration  # of the network
        self._advance = acceleration.recorded(advance, device)
        self._text = text
        self.decoder = decoder
        self.previews = decoder  # may be one that takes less time
        self._zeros_for_none = zeros_for_none

    @property
    def few_sizes(self) -> bool:
        """Whether batches ought to come in a few sizes, since each new one is recorded."""
        return self.acceleration.records(self.device)

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str], *, alone: bool = False) -> list[Conditioning]:
        """Return one conditioning per prompt; ``alone`` encodes each by itself, bit for bit."""
        groups = [[prompt] for prompt in prompts] if alone else [list(prompts)]
        return [c for group in groups if group for c in self._text.encode(group)]

    def encode_negative(self, prompt: str, weighting: Weighting | None = None) -> Conditioning:
        """Return the conditioning of a negative prompt; "" is none."""
        found = self.encode_prompt(prompt, weighting)
        return found.zeros() if prompt == "" and self._zeros_for_none else found

    @torch.inference_mode()
    def encode_prompt(self, prompt: str, weighting: Weighting | None = None) -> Conditioning:
        """Return the conditioning of one prompt by itself.

        With a ``weighting`` its brackets weight it.

        Raises:
            PromptError: the model's ``weights_prompts`` is false, and there is a ``weighting``.
        """
        if weighting is None:
            return self.encode_prompts([prompt])[0]
        if not isinstance(self._text, WeightedPromptEncoder):
            raise PromptError("this model's prompts cannot be weighted")
        return self._text.encode_weighted(prompt, weighting)

    @torch.inference_mode()
    def decode(
        self, latents: Tensor, *, alone: bool = False, tiled: bool = False
    ) -> NDArray[np.uint8]:
        """Return images (B, H, W, 3) uint8 of latents (B, C, h, w) at sigma 0.

        ``tiled`` decodes them tile by tile, in less memory, where the decoder can.

        Raises:
            NonFiniteError: the decoder returned NaN or infinity; the message names it.
        """
        decoder = in_tiles(self.decoder) if tiled else self.decoder
        return _pixels(decoder, torch.split(latents, 1) if alone else [latents])

    @torch.inference_mode()
    def preview(self, latents: Tensor) -> NDArray[np.uint8]:
        """Return previews (B, h, w, 3) uint8, which may be smaller than images, of latents.

        Raises:
            NonFiniteError: as of :meth:`decode`.
        """
        return _pixels(self.previews, [latents])

    def advance(
        self, inputs: ForwardPass, state: Tensor, packed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :func:`diffusion.denoiser.advance` does; on CUDA as one recorded graph.

        Args:
            inputs: the forward pass, of N rows.
            state: S, (N, K, C, h, w).
            packed: the rows of the sampler's table, (N, K·K + 2·K).
        """
        conditions = self.backbone.inputs(inputs.conditions)
        result: tuple[Tensor, Tensor, Tensor] = self._advance(
            self.backbone, inputs.latents, inputs.numbers, conditions, state, packed, inputs.form
        )
        return result

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (C, h, w) of an image's latents."""
        factor = self.info.latent_scale_factor
        return self.info.latent_channels, height // factor, width // factor


def _pixels(decoder: Decoder, groups: Sequence[Tensor]) -> NDArray[np.uint8]:
    images = torch.cat([decoder.decode(group) for group in groups])
    if not isfinite(images.sum()):
        raise NonFiniteError(f"the decoder ({decoder_name(decoder)}) returned a non-finite value")
    return to_pixels(images)


def load_bundle(
    folder: Path,
    *,
    device: str = "cpu",
    backend: str = "torch",
    dtype: str = "auto",
    precision: str = "fp32",
    sessions: SessionSettings | None = None,
    acceleration: Acceleration = PLAIN,
    name: str | None = None,
) -> Bundle:
    """Load a model directory: only safetensors and verified ONNX graphs; nothing is downloaded.

    ``name`` overrides the name that ``sfumato.json`` or the folder gives the model.

    The ``dtype`` is what torch computes in: "auto" is float32 on the CPU, elsewhere what the
    weights are stored in. An export has a ``precision`` of its own. The backend "auto" is torch if
    a ``dtype`` asks for it; ONNX Runtime if a ``precision`` or a provider does, or on the CPU if
    the bundle holds an export and the runtime is installed; otherwise it is torch.

    Raises:
        BundleError: the folder is not a model we can serve (the message names the file), or the
            device, the provider or the export is not available.
    """
    if backend not in BACKENDS:
        raise BundleError(f"unknown backend {backend!r}; available: {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BundleError(f"unknown precision {precision!r}; available: {', '.join(PRECISIONS)}")
    if dtype != "auto" and dtype not in DTYPES:
        raise BundleError(f"unknown dtype {dtype!r}; available: auto, {', '.join(DTYPES)}")
    check_files(folder)
    for note in notes(folder):
        log.info("%s", note)
    place = usable_device(device)
    sha256 = digest(folder)
    sessions = sessions or SessionSettings()
    if backend == "auto":
        asked = precision != "fp32" or sessions.provider != "auto"
        preferred = dtype == "auto" and _prefers_onnx(folder, precision, sha256, place)
        backend = "onnx" if asked or preferred else "torch"
    if backend == "torch":
        parts = TorchParts(folder, place, DTYPES.get(dtype), acceleration)
        return assemble(folder, parts, sha256, name)
    if dtype != "auto":
        raise BundleError(f"the dtype {dtype!r} is torch's; an export has a precision of its own")
    manifest = read_manifest(folder, precision, sha256)
    path = export_folder(folder, precision)
    export = OnnxExport(folder, path, manifest, place, sessions)
    return assemble(folder, OnnxParts(folder, export, place), sha256, name)


def assemble(
    folder: Path,
    parts: TorchParts | OnnxParts,
    sha256: str,
    name: str | None = None,
) -> Bundle:
    """Assemble a bundle from its folder and the networks in ``parts``; ``sha256`` is its digest.

    Raises:
        BundleError: a part is missing, broken or not served.
    """
    index = _index(folder)
    layout = layout_of(index)
    schedule, clip = _noise_schedule(folder, layout, index)
    if schedule.own is None:
        log.warning("scheduler/scheduler_config.json is not followed: %s", schedule.not_own)
    if isinstance(parts, TorchParts):
        loaded = layout.load(folder, index, parts)
    elif layout.load_export is not None:
        loaded = layout.load_export(folder, index, parts)
    else:
        raise BundleError(f"{layout.pipelines[0]} is not served from ONNX exports, only in torch")
    decoder, factor = (PixelDecoder(), 1) if loaded.pixels else parts.decoder()
    if not loaded.pixels:
        _check_codec(folder, layout, loaded)
    info = _info(folder, schedule, layout, loaded, factor, sha256)
    if name is not None:
        info = replace(info, name=name)
    check_name(info.name)
    return Bundle(
        info,
        schedule,
        loaded.backbone(),
        loaded.text,
        decoder,
        parts.device,
        clip,
        zeros_for_none=loaded.zeros_for_none,
        acceleration=parts.acceleration,
    )


def _check_codec(folder: Path, layout: Layout, loaded: Loaded) -> None:
    channels = codec_config(folder / "vae").get("latent_channels", 4)
    if channels != loaded.channels:
        raise BundleError(
            f"vae/config.json: the codec gives {channels} channels, "
            f"the {layout.network} takes {loaded.channels}"
        )


def _index(folder: Path) -> dict[str, Any]:
    """Return the bundle's index; further text encoders, if it names any, have to be there."""
    index = read_json(folder / INDEX)
    for part in FURTHER_PARTS if "_class_name" in index or "unet" in index else ():
        named = index.get(part) not in (None, [None, None])
        if named != (folder / part).is_dir():
            state = "there, but not named" if not named else "named, but not there"
            raise BundleError(f"{INDEX}: {part} is {state}")
    return index


def _noise_schedule(
    folder: Path, layout: Layout, index: Mapping[str, Any]
) -> tuple[NoiseSchedule, float | None]:
    """Return the noise schedule, and the bound that the scheduler keeps the estimate within.

    ``leading`` keeps the offset that is written; the model's own schedule has the amended one.
    """
    place = part_folder(folder, "scheduler", SCHEDULER_CONFIG)
    config: Mapping[str, Any] = read_json(place / SCHEDULER_CONFIG)
    try:
        written = read_schedule(of_named_class(index, config), ends=layout.ends)
        config = layout.own_scheduler(index, config)
        schedule = read_schedule(config, ends=layout.ends)
        if isinstance(written, VPSchedule) and isinstance(schedule, VPSchedule):
            schedule = replace(schedule, steps_offset=written.steps_offset)
        return schedule, estimate_bound(config)
    except ScheduleError as error:
        raise BundleError(f"scheduler/scheduler_config.json: {error}") from error


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
    layout: Layout,
    loaded: Loaded,
    factor: int,
    sha256: str,
) -> ModelInfo:
    sides = (loaded.side, loaded.side) if isinstance(loaded.side, int) else loaded.side
    height, width = (side * factor for side in sides)
    multiple, largest = loaded.multiple * factor, 2 * max(width, height)
    if loaded.max_side is not None:
        largest = min(largest, loaded.max_side * factor)
    values: dict[str, Any] = {
        "name": folder.absolute().name,
        "title": folder.absolute().name,
        "width": width,
        "height": height,
        "latent_channels": loaded.channels,
        "latent_scale_factor": factor,
        "prediction_type": schedule.prediction_type,
        "num_train_timesteps": schedule.num_train_timesteps,
        "sha256": sha256,
        "default_steps": loaded.steps or layout.steps,
        "default_sampler": "dpmpp_2m" if schedule.own is None else schedule.own.sampler,
        "default_schedule": OF_SAMPLER if schedule.own is None else OWN,
        "default_guidance_scale": loaded.guidance_scale or layout.guidance_scale,
        "min_side": multiple,
        "max_side": largest,
        "side_multiple": multiple,
        "max_pixels": 2 * width * height,
        "embeds_guidance": loaded.embeds_guidance,
        "prompt": loaded.prompt,
        "classes": loaded.classes,
        "class_names": loaded.class_names,
        "token_side": loaded.token and loaded.token * factor,
        "weights_prompts": isinstance(loaded.text, WeightedPromptEncoder),
    }
    extra = folder / "sfumato.json"
    info = apply_overrides(values, read_json(extra) if extra.exists() else {})
    if loaded.max_side is not None and info.max_side > largest:
        raise BundleError(
            f"sfumato.json: max_side {info.max_side} is above {largest}, "
            f"the most that the {layout.network} has positions for"
        )
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
