"""Text encoders: one CLIP (Stable Diffusion 1.5, ours), or two side by side (SDXL)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.bundle_files import read_json
from diffusion.errors import BundleError
from diffusion.model import Conditioning


class TextEncoder:
    """Encodes prompts, truncated and padded to the tokenizer's length.

    ``zeros_for_empty_prompt`` gives "" zeros, as SDXL was trained to have it.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Any, Any]],
        device: torch.device,
        *,
        zeros_for_empty_prompt: bool = False,
    ) -> None:
        self._parts = parts
        self._device = device
        self._zeros_for_empty_prompt = zeros_for_empty_prompt

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype | None,
        *,
        zeros_for_empty_prompt: bool = False,
    ) -> "TextEncoder":
        """Load ``text_encoder`` and, where there is one, ``text_encoder_2``.

        Raises:
            BundleError: a part that is missing, broken or not served.
        """
        parts = [_load(folder, "", device, dtype)]
        if (folder / "text_encoder_2").is_dir():
            parts.append(_load(folder, "_2", device, dtype))
        return cls(parts, device, zeros_for_empty_prompt=zeros_for_empty_prompt)

    @property
    def width(self) -> int:
        """D, the embeddings' width."""
        return sum(int(encoder.config.hidden_size) for _, encoder in self._parts)

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning a prompt.

        A single encoder gives its last hidden state. Two give their penultimate ones side by side
        and the second's projection as pooled embedding (Podell et al. 2023, section 2.1).
        """
        encoded = self._encode(prompts)
        if self._zeros_for_empty_prompt:
            return [e if p else e.zeros() for p, e in zip(prompts, encoded, strict=True)]
        return encoded

    def _encode(self, prompts: list[str]) -> list[Conditioning]:
        if len(self._parts) == 1:
            tokenizer, encoder = self._parts[0]
            output = encoder(_tokens(tokenizer, encoder, prompts, self._device))
            return [Conditioning(row) for row in output.last_hidden_state.float()]
        states: list[Tensor] = []
        pooled: Tensor | None = None
        for tokenizer, encoder in self._parts:
            tokens = _tokens(tokenizer, encoder, prompts, self._device)
            output = encoder(tokens, output_hidden_states=True)
            states.append(output.hidden_states[-2].float())
            pooled = output[0].float()
        assert pooled is not None
        return [Conditioning(*row) for row in zip(torch.cat(states, -1), pooled, strict=True)]


def _tokens(tokenizer: Any, encoder: Any, prompts: list[str], device: torch.device) -> Tensor:
    tokens: Tensor = tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=int(encoder.config.max_position_embeddings),
        return_tensors="pt",
    ).input_ids
    return tokens.to(device)


def _load(
    folder: Path, suffix: str, device: torch.device, dtype: torch.dtype | None
) -> tuple[Any, Any]:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizerFast
    from transformers import PreTrainedTokenizerFast as Fast

    from diffusion.bundle import load_part

    path = folder / f"text_encoder{suffix}"
    config = read_json(path / "config.json")
    kinds = {k.__name__: k for k in (CLIPTextModel, CLIPTextModelWithProjection)}
    kind = kinds.get(str((config.get("architectures") or [None])[0]))
    if kind is None:
        raise BundleError(f"{path.name}/config.json: {config.get('architectures')} is not served")
    words = folder / f"tokenizer{suffix}"
    try:
        if (words / "vocab.json").exists():
            tokenizer: Any = CLIPTokenizerFast.from_pretrained(str(words), local_files_only=True)
        else:
            tokenizer = Fast.from_pretrained(str(words), local_files_only=True)
    except Exception as error:  # the tokenizers raise whatever their parsers raise
        raise BundleError(f"{words.name}: {error}") from error
    encoder = load_part(kind, path, dtype).to(device).eval().requires_grad_(False)
    return tokenizer, encoder
