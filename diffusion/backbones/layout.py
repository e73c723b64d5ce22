"""What a family of checkpoints is: its pipelines, and how its network and prompts are loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from diffusion.backbones.backbone import Backbone
from diffusion.config import Table, shown
from diffusion.errors import BundleError
from diffusion.files import INDEX
from diffusion.model import Conditioning, PromptKind
from diffusion.parts.open import OnnxParts, TorchParts
from diffusion.parts.weighted_prompt import Weighting
from diffusion.schedules.flow_own import Ends
from diffusion.schedules.keys import SCHEDULERS


class PromptEncoder(Protocol):
    """Turns prompts into what the network takes."""

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt."""
        ...


@runtime_checkable
class WeightedPromptEncoder(PromptEncoder, Protocol):
    """One that can weight the tokens of a prompt."""

    def encode_weighted(self, prompt: str, weighting: Weighting) -> Conditioning:
        """Return the conditioning of a prompt whose brackets weight it."""
        ...


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model's prompts and network, and what its configuration says of its latents."""

    backbone: Callable[[], Backbone]  # called last: the network is the largest part
    text: PromptEncoder
    channels: int  # of the latents
    side: int | tuple[int, int]  # of the base resolution, in latents; or (height, width)
    multiple: int  # of each side, in latents
    max_side: int | None = None  # in latents, where the network has positions for no more
    token: int | None = None  # latents a side of an image token, which levels may depend on
    embeds_guidance: bool = False  # the network takes the guidance scale as an input
    prompt: PromptKind = "text"
    classes: int | None = None  # of prompts that are one, numbered from 0
    class_names: tuple[str, ...] = ()  # by number: one or several with commas, or "" for none
    zeros_for_none: bool = False  # zeros stand for a negative prompt that is not given
    pixels: bool = False  # the latents are the image itself: there is no VAE
    steps: int | None = None  # the default number, where it is not the layout's
    guidance_scale: float | None = None  # likewise


def _as_written(index: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config


@dataclass(frozen=True, eq=False)
class Layout:
    """A family of checkpoints, in the diffusers directory layout."""

    network: str  # the network's folder
    pipelines: Sequence[str]  # class names in model_index.json
    index: Table  # every key of model_index.json
    load: Callable[[Path, Mapping[str, Any], TorchParts], Loaded]
    """(folder, index, parts) → loaded; raises BundleError for what is not served."""
    load_export: Callable[[Path, Mapping[str, Any], OnnxParts], Loaded] | None = None
    """Likewise from an ONNX export; None if none are made of this family."""
    steps: int = 25  # the default number
    guidance_scale: float = 7.0  # the default
    scheduler: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] = _as_written
    """(index, scheduler_config.json) → what the pipeline makes of its scheduler's configuration."""
    ends: Ends = "twice_shifted"  # where a flow's levels end, which the pipeline decides

    def own_scheduler(
        self, index: Mapping[str, Any], config: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the configuration of the model's own scheduler, of the class that diffusers makes.

        Args:
            index: of the bundle, whose class goes before the configuration's.
            config: ``scheduler_config.json`` as it is written.
        """
        return self.scheduler(index, of_named_class(index, config))


def of_named_class(index: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a scheduler's configuration with the class that the bundle's index names, if any.

    Raises:
        BundleError: the index names one whose process is not served.
    """
    match index.get("scheduler"):
        case [_, str(name)]:
            if name not in SCHEDULERS:
                raise BundleError(f"{INDEX}: scheduler {shown(name)} is not served")
            return {**config, "_class_name": name}
    return config
