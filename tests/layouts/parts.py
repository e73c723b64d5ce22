"""Parts that layouts share: codecs, text encoders and tokenizers, tiny and random."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import import_protobuf

TOKENS = 77
NORMAL = 1  # of SentencePiece's kinds of pieces
KINDS = {"<pad>": 3, "</s>": 3, "<unk>": 2}  # others of its kinds


def vae(scaling_factor: float, latent_channels: int = 4, **options: Any) -> AutoencoderKL:
    """Return a codec of 32×32 pixels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=scaling_factor,
        **options,
    )


def clip_text(width: int, activation: str = "quick_gelu") -> CLIPTextConfig:
    """Return the configuration of a CLIP text encoder."""
    return CLIPTextConfig(
        vocab_size=600,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def clip_tokenizer(folder: Path, pad: str = "<|endoftext|>") -> CLIPTokenizerFast:
    """Return CLIP's tokenizer with bytes for a vocabulary and one merge."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|startoftext|>", "<|endoftext|>", *alphabet, *(c + "</w>" for c in alphabet), "re"]
    files = folder.with_name(f"{folder.name}-tokenizer")
    files.mkdir(exist_ok=True)
    (files / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (files / "merges.txt").write_text("#version: 0.2\nr e\n")
    return CLIPTokenizerFast(
        vocab=str(files / "vocab.json"),
        merges=str(files / "merges.txt"),
        pad_token=pad,
        model_max_length=TOKENS,
    )


def t5_encoder(width: int) -> T5EncoderModel:
    """Return T5's encoder."""
    return T5EncoderModel(
        T5Config(
            vocab_size=256,
            d_model=width,
            d_kv=8,
            d_ff=2 * width,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )


def t5_pieces() -> list[tuple[str, float]]:
    """Return T5's first pieces, single characters and a few words, with their logarithms."""
    characters = [chr(code) for code in range(33, 127)]
    words = ["▁a", "▁red", "▁apple", "ap", "ple", "re"]
    return [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -3.0),
        *((word, -2.0 - len(word)) for word in words),
        *((character, -6.0 - n / 100) for n, character in enumerate(characters)),
    ]


def t5_tokenizer() -> T5Tokenizer:
    """Return T5's tokenizer of these pieces."""
    sentinels = [(f"<extra_id_{n}>", 0.0) for n in reversed(range(20))]
    return T5Tokenizer(vocab=t5_pieces() + sentinels, extra_ids=20)


def pieces_instead(folder: Path, pieces: Sequence[tuple[str, float]] = (), kind: int = 1) -> Path:
    """Replace a bundle's tokenizer.json by SentencePiece's file, of a unigram model or another."""
    model = import_protobuf().ModelProto()
    for piece, score in pieces or t5_pieces():
        model.pieces.add(piece=piece, score=score, type=KINDS.get(piece, NORMAL))
    model.trainer_spec.model_type = kind
    model.normalizer_spec.name = "identity"
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/spiece.model").write_bytes(model.SerializeToString())
    return folder
