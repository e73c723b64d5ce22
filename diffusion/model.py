"""What is known of a model apart from its weights, and an encoded prompt."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from diffusion.config import number, shown
from diffusion.errors import BundleError

MAX_NAME_CHARS = 64
OF_SAMPLER = "sampler"
"""The default schedule of a model whose samplers have each their own."""
LEAST_GUIDANCE, MOST_GUIDANCE = 1, 30  # that a request may ask for
PromptKind = Literal["text", "class", "none"]
"""What a prompt is: text, a class's number or name, or without effect. Only text is guided."""


@dataclass(frozen=True)
class ModelInfo:
    """What the door and the workers need to know about a model."""

    name: str
    title: str
    width: int  # the base resolution, in pixels
    height: int
    latent_channels: int
    latent_scale_factor: int  # pixels a latent
    prediction_type: str
    num_train_timesteps: int
    sha256: str  # of every file that affects its images
    default_steps: int
    default_sampler: str
    default_guidance_scale: float
    min_side: int
    max_side: int
    side_multiple: int
    max_pixels: int
    embeds_guidance: bool = False  # guidance is an input of the network, and no second pass
    prompt: PromptKind = "text"
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    default_schedule: str = OF_SAMPLER
    token_side: int | None = None  # pixels an image token, of models that have tokens
    classes: int | None = None  # of a model that is asked for one, numbered from 0
    class_names: tuple[str, ...] = ()  # by number: one or several with commas, or "" for none
    weights_prompts: bool = False  # brackets in a prompt may weight its tokens

    def image_tokens(self, width: int, height: int) -> int | None:
        """Return how many tokens an image has, where its noise levels may depend on them."""
        side = self.token_side
        return None if side is None else (width // side) * (height // side)


OVERRIDES = frozenset(field.name for field in fields(ModelInfo)) - {
    "sha256", "prediction_type", "num_train_timesteps", "latent_channels", "latent_scale_factor",
    "embeds_guidance", "prompt", "token_side", "classes", "class_names", "weights_prompts",
}  # fmt: skip


def apply_overrides(values: dict[str, Any], overrides: Mapping[str, Any]) -> ModelInfo:
    """Return the info: the derived values, overridden by the bundle's ``sfumato.json``.

    Raises:
        BundleError: a key that a bundle may not set, or a value that cannot be drawn with.
    """
    unknown = sorted(set(overrides) - OVERRIDES)
    if unknown:
        raise BundleError(f"sfumato.json: unknown keys {shown(', '.join(unknown))[1:-1]}")
    for field in fields(ModelInfo):
        if field.name in overrides and not _fits(field.type, overrides[field.name]):
            raise BundleError(
                f"sfumato.json: {field.name} cannot be {shown(overrides[field.name])}"
            )
    merged = values | dict(overrides)
    for key in ("languages", "examples"):
        merged[key] = tuple(merged.get(key, ()))
    info = ModelInfo(**merged)
    _check_sizes(info, values["side_multiple"])
    return info


def _fits(kind: object, value: object) -> bool:
    if kind is int:
        return type(value) is int and value > 0
    if kind is float:
        return number(LEAST_GUIDANCE, MOST_GUIDANCE).fits(value)
    if kind is str:
        return isinstance(value, str) and value != ""
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def check_name(name: str) -> None:
    """Refuse a model's name that no request and no path could give.

    Raises:
        BundleError: it is too long, or has characters that end or change a path.
    """
    plain = name.isprintable() and name == name.strip() and name not in ("", ".", "..")
    if len(name) > MAX_NAME_CHARS:
        fault = f"has {len(name)} characters, more than {MAX_NAME_CHARS}"
    elif not plain or "/" in name or "\\" in name:
        fault = "is a path, is blank at an end, or has characters that cannot be printed"
    else:
        return
    raise BundleError(
        f"the model's name {shown(name)} {fault}: no request could ask for it; "
        "set name in sfumato.json, or SFUMATO_MODEL_NAME"
    )


def _check_sizes(info: ModelInfo, multiple: int) -> None:
    if info.side_multiple % multiple:
        raise BundleError(
            f"sfumato.json: side_multiple {info.side_multiple} is not a multiple of {multiple}, "
            "which the network requires"
        )
    for name in ("width", "height"):
        side = getattr(info, name)
        if side % info.side_multiple or not info.min_side <= side <= info.max_side:
            raise BundleError(
                f"sfumato.json: {name} {side} is not a multiple of {info.side_multiple} "
                f"from {info.min_side} to {info.max_side}"
            )
    if info.width * info.height > info.max_pixels:
        raise BundleError(f"sfumato.json: {info.width}x{info.height} is above max_pixels")


@dataclass(frozen=True)
class Truncation:
    """A prompt that is longer than a text encoder reads; numbers of tokens."""

    encoder: str  # its folder
    read: int
    tokens: int


@dataclass(frozen=True, eq=False)
class Conditioning:
    """One prompt, encoded."""

    embeddings: Tensor  # (L, D) float32
    pooled: Tensor | None = None  # (P,) float32, where the model has it (SDXL)
    truncations: tuple[Truncation, ...] = ()  # by the encoders that did not read all of it
    tokens: int | None = None  # the first ones of L that are the prompt's; None: all
    at_weight_limit: bool = False  # a weight in the prompt is the largest there may be, or was more

    @property
    def nbytes(self) -> int:
        """What it takes on its device."""
        return self.embeddings.nbytes + (0 if self.pooled is None else self.pooled.nbytes)

    def repeated(self, length: int) -> "Conditioning":
        """Return its states so often that L is ``length``, a multiple: attention cannot tell."""
        times = length // len(self.embeddings)
        return self if times == 1 else replace(self, embeddings=self.embeddings.repeat(times, 1))

    def zeros(self) -> "Conditioning":
        """Return zeros of the same shapes."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.embeddings), pooled, tokens=self.tokens)
