"""``UNet2DModel``: pixels without a prompt, or of numbered classes (Ho et al. 2020)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.acceleration import PLAIN, Acceleration
from diffusion.backends.backend import torch_name
from diffusion.backends.packed import pack
from diffusion.backends.torch import traced
from diffusion.config import fault, shown
from diffusion.config_keys import PIXEL_INDEX, PIXEL_UNET
from diffusion.errors import BundleError, PromptError
from diffusion.files import INDEX, part_folder, read_json
from diffusion.model import Conditioning
from diffusion.parts.loading import load_part
from diffusion.parts.open import TorchParts

STEPS = 50  # diffusers' default of DDIMPipeline; DDPMPipeline's is 1000
MOST_LABEL = 2**20  # of classes whose number is embedded as a timestep is


class PixelUNet:
    """A UNet of pixels in PyTorch.

    On the CPU it is traced and its convolutions packed, unless it is compiled.
    """

    def __init__(self, unet: Any, device: torch.device, acceleration: Acceleration = PLAIN) -> None:
        unet = unet.to(device).eval().requires_grad_(False)
        self.name = torch_name(unet.dtype)
        network: Any = Labelled(unet) if unet.class_embedding is not None else Plain(unet)
        self._labelled = unet.class_embedding is not None
        if not acceleration.compile(unet) and device.type == "cpu":
            side = unet.config.sample_size
            pack(unet, side if isinstance(side, int) else max(side))
            network = traced(network, _example(unet, 2, 1), _example(unet, 3, 2))
        self._network = network

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return the classes' numbers (N,) if there are classes."""
        if not self._labelled:
            return {}
        return {"labels": torch.cat([each.prompt.embeddings.view(-1) for each in conditions])}

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        return self._network(sample, c_noise, *inputs.values())  # type: ignore[no-any-return]


class Plain(nn.Module):
    """A UNet with float32 inputs and outputs, whatever its own dtype."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timesteps: Tensor) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        prediction: Tensor = self.unet(sample.to(self.unet.dtype), timesteps, return_dict=False)[0]
        return prediction.float()


class Labelled(nn.Module):
    """Likewise of classes, by their numbers (N,) float32."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        self.dtype = torch.int64 if unet.config.class_embed_type is None else torch.float32

    def forward(self, sample: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        prediction: Tensor = self.unet(
            sample.to(self.unet.dtype),
            timesteps,
            class_labels=labels.to(self.dtype),
            return_dict=False,
        )[0]
        return prediction.float()


def _example(unet: Any, rows: int, times: int) -> list[Tensor]:
    """Return ``rows`` inputs, ``times`` the smallest size high and twice that wide."""
    side = times * 2 ** (len(unet.config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(rows)
    sample = torch.randn(rows, unet.config.in_channels, side, 2 * side, generator=generator)
    labels = [] if unet.class_embedding is None else [torch.zeros(rows)]
    return [sample, torch.linspace(1, 999, rows), *labels]


class NoPrompt:
    """Prompts of a model that takes none."""

    def __init__(self, device: torch.device) -> None:
        self._nothing = Conditioning(torch.zeros(1, 1, device=device))

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt, whatever it says."""
        return [self._nothing for _ in prompts]


class ClassPrompt:
    """Prompts that are the number of a class, or its name."""

    def __init__(self, device: torch.device, classes: int, names: Mapping[str, int]) -> None:
        self._device = device
        self._classes = classes
        self._names = names

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt: its class as embeddings (1, 1).

        Raises:
            PromptError: there is no such class.
        """
        numbers = [float(self._number(prompt.strip())) for prompt in prompts]
        return [Conditioning(torch.tensor([[n]], device=self._device)) for n in numbers]

    def _number(self, prompt: str) -> int:
        plain = prompt.isascii() and prompt.isdecimal() and len(prompt) < 20
        number = int(prompt) if plain else self._names.get(prompt.casefold(), -1)
        if 0 <= number < self._classes:
            return number
        named = ", or one of their names" if self._names else ""
        raise PromptError(
            f"the prompt {shown(prompt)} is no class of this model, which are numbered from 0 to "
            f"{self._classes - 1}{named}"
        )


def pixel_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a UNet of pixels.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    place = _place(folder)
    config = read_json(place / "config.json")
    wrong = _fault(config)
    if wrong is not None:
        where = "" if place == folder else f"{place.name}/"
        raise BundleError(f"{where}config.json: {wrong}")
    return config


def _fault(config: Mapping[str, Any]) -> str | None:
    if config.get("_class_name") != "UNet2DModel":
        return f"{shown(config.get('_class_name'))} is not served by this pipeline"
    if wrong := fault(config, PIXEL_UNET):
        return wrong
    if isinstance(config["sample_size"], list) and len(config["sample_size"]) != 2:
        return "sample_size is neither one side nor two"
    taken, given = config.get("in_channels", 3), config.get("out_channels", 3)
    if taken not in (1, 3):
        return f"images of {taken} channels are not served, only of 1 or 3"
    if given != taken:
        return (
            f"unet takes {taken} channels and gives {given}: variance that is learned, and models "
            "that take an image, are not served"
        )
    return None


def _place(folder: Path) -> Path:
    return part_folder(folder, "unet", "config.json")


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts) -> Loaded:
    from diffusers.models.unets.unet_2d import UNet2DModel

    config = pixel_config(folder)
    # The class is embedded in float32.
    by_time = config.get("class_embed_type") == "timestep"
    dtype = torch.float32 if by_time else parts.dtype
    classes = config.get("num_class_embeds") or (MOST_LABEL if by_time else 0)
    names = _names(index, classes)
    size = config["sample_size"]
    return Loaded(
        backbone=lambda: PixelUNet(
            load_part(UNet2DModel, _place(folder), config, dtype),
            parts.device,
            parts.acceleration,
        ),
        text=ClassPrompt(parts.device, classes, names) if classes else NoPrompt(parts.device),
        channels=int(config.get("in_channels", 3)),
        side=size if isinstance(size, int) else (size[0], size[1]),
        multiple=2 ** (len(config["block_out_channels"]) - 1),
        prompt="class" if classes else "none",
        classes=classes or None,
        class_names=_labels(index) if classes else (),
        pixels=True,
    )


def _names(index: Mapping[str, Any], classes: int) -> dict[str, int]:
    """Return the numbers of class names; like ImageNet's they may be several, with commas."""
    found: dict[str, int] = {}
    for number, names in (index.get("id2label") or {}).items():
        if not int(number) < classes:
            raise BundleError(f"{INDEX}: id2label has a class {number} of {classes}")
        found |= dict.fromkeys((name.strip().casefold() for name in names.split(",")), int(number))
    return found


def _labels(index: Mapping[str, Any]) -> tuple[str, ...]:
    labels = {int(number): names for number, names in (index.get("id2label") or {}).items()}
    return tuple(labels.get(number, "") for number in range(max(labels, default=-1) + 1))


def _scheduler(index: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of diffusers' scheduler: DDIMPipeline takes DDIM's in any case."""
    ddim = index.get("_class_name") == "DDIMPipeline"
    return {**config, "_class_name": "DDIMScheduler"} if ddim else config


UNCONDITIONAL = Layout(
    network="unet",
    pipelines=("DDPMPipeline", "DDIMPipeline"),
    index=PIXEL_INDEX,
    load=_load,
    steps=STEPS,
    guidance_scale=1.0,
    scheduler=_scheduler,
)
