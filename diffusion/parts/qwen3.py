"""Qwen3 as a text encoder: the penultimate states of a prompt's own tokens, of any number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.config import (
    FLAG,
    HARMLESS,
    WORD,
    Key,
    Table,
    each,
    either,
    fault,
    number,
    only,
    whole,
)
from diffusion.config_keys import CHANNELS, HEADS, LAYERS, NONE, OFF, TOKEN, TRANSFORMERS
from diffusion.errors import BundleError
from diffusion.model import Conditioning, Truncation
from diffusion.parts.loading import load_part, read_config
from diffusion.parts.tokenizer import checked, read_jsons

BEFORE, AFTER = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""Qwen3's form of a chat with one message. A tokenizer's own template is a program: never run."""
MARKS = ("<|im_start|>", "<|im_end|>")
ENCODER = "text_encoder"  # its folder

ROPE: Table = {
    "rope_type": only("default"),
    "rope_theta": number(1, 1e12).needed,
    "type": only("default"),
}

QWEN3: Table = {
    **TRANSFORMERS,
    "architectures": Key(
        lambda v: v in (["Qwen3Model"], ["Qwen3ForCausalLM"]),
        "Qwen3Model and Qwen3ForCausalLM",
        required=True,
    ),
    "model_type": only("qwen3").needed,
    "attention_dropout": HARMLESS,  # of training
    "attention_bias": FLAG,
    "vocab_size": whole(1, 2**20).needed,
    "hidden_size": CHANNELS.needed,
    "intermediate_size": whole(1, 2**17).needed,
    "num_hidden_layers": LAYERS.needed,
    "num_attention_heads": HEADS.needed,
    "num_key_value_heads": HEADS.nullable,
    "head_dim": whole(1, 1024),
    "hidden_act": WORD,
    "max_position_embeddings": whole(1, 2**24),
    "rms_norm_eps": number(0, 1),
    "rope_theta": number(1, 1e12),  # until transformers 5
    "rope_scaling": NONE,
    "rope_parameters": Key(
        lambda v: isinstance(v, dict) and fault(v, ROPE) is None,
        "the default ones with a rope_theta",
    ),
    # Every layer attends to all tokens before its own.
    "use_sliding_window": OFF,
    "sliding_window": HARMLESS,  # it takes use_sliding_window
    "max_window_layers": HARMLESS,
    "layer_types": each(only("full_attention"), 64).nullable,
    "bos_token_id": TOKEN,
    "eos_token_id": either(TOKEN, each(TOKEN)),
    "pad_token_id": TOKEN,
    "is_decoder": HARMLESS,
    "add_cross_attention": OFF,
    "pruned_heads": only({}, None),
    "quantization_config": NONE,
}


class Qwen3:
    """Encodes prompts as diffusers does for Z-Image, each by itself."""

    def __init__(self, tokenizer: Any, encoder: Any, length: int, multiple: int) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._length = length
        self._multiple = multiple

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype | None,
        *,
        length: int,
        multiple: int,
    ) -> "Qwen3":
        """Load ``text_encoder`` and ``tokenizer``.

        Args:
            folder: the bundle's.
            device: that the encoder runs on.
            dtype: that it computes in; None: the one it is stored in.
            length: the most tokens that are read.
            multiple: the number of tokens that embeddings are padded to a multiple of.

        Raises:
            BundleError: a part is missing, broken or not served.
        """
        from transformers import Qwen3Model

        config = read_config(folder / ENCODER, QWEN3)
        if wrong := _wrong(config):
            raise BundleError(f"{ENCODER}/config.json: {wrong}")
        tokenizer = _tokenizer(folder / "tokenizer", length, int(config["vocab_size"]))
        encoder = load_part(Qwen3Model, folder / ENCODER, config, dtype)
        encoder = encoder.to(device).eval().requires_grad_(False)
        return cls(tokenizer, encoder, length, multiple)

    @property
    def width(self) -> int:
        """D, the embeddings' width."""
        return int(self._encoder.config.hidden_size)

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt, zeros after its own tokens."""
        return [self._encode(prompt) for prompt in prompts]

    def _encode(self, prompt: str) -> Conditioning:
        tokenized = self._tokenizer(
            BEFORE + prompt + AFTER, truncation=True, max_length=self._length, return_tensors="pt"
        )
        states = self._states(tokenized.input_ids)
        padding = states.new_zeros(-len(states) % self._multiple, self.width)
        cut = _truncation(prompt, tokenized.encodings[0])
        return Conditioning(
            torch.cat([states, padding]), truncations=(cut,) if cut else (), tokens=len(states)
        )

    def _states(self, tokens: Tensor) -> Tensor:
        """Return the penultimate states (L, D) float32 of tokens (1, L)."""
        output = self._encoder(
            tokens.to(self._encoder.device), output_hidden_states=True, use_cache=False
        )
        states: Tensor = output.hidden_states[-2][0].float()
        return states


def _wrong(config: Mapping[str, Any]) -> str | None:
    """Return what does not fit in the network: transformers would not say."""
    if ("rope_theta" in config) == ("rope_parameters" in config):
        return "rope_theta is said neither alone nor in rope_parameters alone"
    heads, shared = config["num_attention_heads"], config.get("num_key_value_heads")
    if shared is not None and heads % shared:
        return f"num_attention_heads {heads} is no multiple of num_key_value_heads {shared}"
    if config.get("head_dim", 128) % 2:
        return f"head_dim {config['head_dim']} is odd"
    return None


def _tokenizer(folder: Path, length: int, known: int) -> Any:
    from transformers import Qwen2Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise BundleError(f"{folder.name}/{name} is missing")
    read_jsons(folder)
    file = f"{folder.name}/tokenizer.json"
    tokenizer = checked(
        file,
        lambda: Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True),  # nosec B615
        length,
        known,
    )
    for mark in MARKS:
        if len(tokenizer(mark).input_ids) != 1:
            raise BundleError(f"{file} has no token {mark}, which begins or ends a message")
    return tokenizer


def _truncation(prompt: str, encoding: Any) -> Truncation | None:
    """Return how much of a prompt is read, None for all; its own tokens count, no others."""
    first, last = len(BEFORE), len(BEFORE) + len(prompt)
    read, *rest = (
        sum(begin < last and end > first for begin, end in piece.offsets)
        for piece in (encoding, *encoding.overflowing)
    )
    return Truncation(ENCODER, read, read + sum(rest)) if sum(rest) else None
