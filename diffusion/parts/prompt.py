"""Text encoders: one CLIP (Stable Diffusion 1.5, ours), or two side by side (SDXL)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffusion.config_keys import TEXT_ENCODER
from diffusion.model import Conditioning, Truncation
from diffusion.parts.loading import load_part, read_config
from diffusion.parts.tokenizer import load_tokenizer, truncation
from diffusion.parts.weighted_prompt import (
    CHUNKS,
    MOST_WEIGHT,
    Chunker,
    Weighting,
    apply_weights,
    weighted,
)

PROJECTION_DIM = 512
"""transformers' default of ``projection_dim``."""


class Encoder(Protocol):
    """Turns tokens into states."""

    def __call__(self, tokens: Tensor, /) -> tuple[Tensor, ...]:
        """Return states (N, L, D) float32 and, if it projects, the pooled prompts (N, P)."""
        ...


OpenEncoder = Callable[[str, Mapping[str, Any], bool], Encoder]
"""(folder of the bundle, configuration, penultimate states?) → encoder."""


@dataclass(frozen=True)
class Part:
    """A tokenizer and its encoder."""

    name: str  # the encoder's folder
    tokenizer: Any
    encoder: Encoder
    width: int
    length: int  # tokens
    pooled: int | None  # the width of its projection, None if it does not project

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, list[Truncation | None]]:
        """Return tokens (N, L), truncated and padded to the encoder's length, and what was cut."""
        tokenized = self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        return tokenized.input_ids, [truncation(self.name, each) for each in tokenized.encodings]


class TextEncoder:
    """Encodes prompts."""

    def __init__(
        self, parts: Sequence[Part], device: torch.device, chunks: int = CHUNKS[-1]
    ) -> None:
        """``chunks`` is how many a weighted prompt may take."""
        self._parts = parts
        self._device = device
        self._chunkers = [Chunker(part.name, part.tokenizer, part.length, chunks) for part in parts]

    @classmethod
    def load(
        cls, folder: Path, device: torch.device, encoders: OpenEncoder, chunks: int = CHUNKS[-1]
    ) -> "TextEncoder":
        """Load ``text_encoder`` and, if there is one, ``text_encoder_2``.

        Raises:
            BundleError: a part is missing, broken or not served.
        """
        two = (folder / "text_encoder_2").is_dir()
        parts = [load_clip(folder, suffix, encoders, two) for suffix in ("", "_2")[: 1 + two]]
        return cls(parts, device, chunks)

    @property
    def width(self) -> int:
        """D, the embeddings' width."""
        return sum(part.width for part in self._parts)

    @property
    def pooled_width(self) -> int | None:
        """P, the pooled prompts' width; None if there are none."""
        return self._parts[-1].pooled if len(self._parts) > 1 else None

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt.

        A single encoder gives its last hidden state. Two give their penultimate ones, concatenated,
        and the second one's projection as the pooled embedding (Podell et al. 2023, section 2.1).
        """
        tokenized = [part.tokenize(prompts) for part in self._parts]
        encoded = [
            part.encoder(tokens.to(self._device))
            for part, (tokens, _) in zip(self._parts, tokenized, strict=True)
        ]
        states = torch.cat([output[0] for output in encoded], -1)
        pooled = encoded[-1][1] if len(encoded) > 1 else [None] * len(prompts)
        by_prompt = zip(*(found for _, found in tokenized), strict=True)
        truncations = [tuple(each for each in found if each) for found in by_prompt]
        return [Conditioning(*row) for row in zip(states, pooled, truncations, strict=True)]

    def encode_weighted(self, prompt: str, weighting: Weighting) -> Conditioning:
        """Return the conditioning of a prompt whose brackets weight it, of one chunk or more.

        Each chunk is encoded by itself, and their states follow one another; the pooled embedding
        is the first one's.
        """
        runs = weighted(prompt)
        chunked = [chunker.chunks(runs) for chunker in self._chunkers]
        cuts = [chunker.cut(each) for chunker, each in zip(self._chunkers, chunked, strict=True)]
        count = next(n for n in CHUNKS if n >= max(map(len, chunked)))
        states, pooled = [], None
        for part, chunker, each in zip(self._parts, self._chunkers, chunked, strict=True):
            tokens, weights = chunker.tensors(each, count)
            output = part.encoder(tokens.to(self._device))
            states.append(apply_weights(output[0], weights, weighting))
            pooled = output[1][0] if len(self._parts) > 1 and len(output) > 1 else None
        return Conditioning(
            torch.cat(states, -1).flatten(0, 1),
            pooled,
            tuple(each for each in cuts if each),
            at_weight_limit=any(abs(run.weight) == MOST_WEIGHT for run in runs),
        )


class TorchEncoder(nn.Module):
    """transformers' CLIP as an :class:`Encoder`."""

    def __init__(self, encoder: Any, *, penultimate: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.penultimate = penultimate

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return the last or the penultimate states (N, L, D), and the projection (N, P)."""
        if not self.penultimate:
            return (self.encoder(tokens).last_hidden_state.float(),)
        output = self.encoder(tokens, output_hidden_states=True)
        states = output.hidden_states[-2].float()
        projected = getattr(output, "text_embeds", None)
        return (states,) if projected is None else (states, projected.float())


def torch_encoder(path: Path, config: Mapping[str, Any], dtype: torch.dtype | None) -> Any:
    """Load transformers' encoder from a folder of a bundle.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    kinds = {k.__name__: k for k in (CLIPTextModel, CLIPTextModelWithProjection)}
    kind = kinds[config["architectures"][0]]
    return load_part(kind, path, config, dtype).eval().requires_grad_(False)


def text_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a text encoder.

    Raises:
        BundleError: it is broken, or of a kind that is not served.
    """
    return read_config(folder, TEXT_ENCODER)


def load_clip(folder: Path, suffix: str, encoders: OpenEncoder, penultimate: bool) -> Part:
    """Load ``text_encoder`` and ``tokenizer`` with this suffix.

    Raises:
        BundleError: a part is missing, broken or not served.
    """
    name = f"text_encoder{suffix}"
    config = text_config(folder / name)
    length, known = int(config["max_position_embeddings"]), int(config["vocab_size"])
    tokenizer = load_tokenizer(folder / f"tokenizer{suffix}", length, known)
    encoder = encoders(name, config, penultimate)
    projects = config["architectures"] == ["CLIPTextModelWithProjection"]
    pooled = int(config.get("projection_dim", PROJECTION_DIM)) if projects else None
    return Part(name, tokenizer, encoder, int(config["hidden_size"]), length, pooled)
