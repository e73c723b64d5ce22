"""T5: a tokenizer of word pieces, and an encoder that gives one state a token."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffusion.config import FLAG, HARMLESS, WORD, Key, Table, number, only, whole
from diffusion.config_keys import CHANNELS, HEADS, LAYERS, NONE, OFF, TOKEN, TRANSFORMERS
from diffusion.errors import BundleError
from diffusion.files import MAX_TOKENIZER_BYTES
from diffusion.model import Conditioning
from diffusion.parts.loading import load_part, read_config
from diffusion.parts.tokenizer import checked, read_jsons, truncation

PIECES = "spiece.model"  # SentencePiece's file, beside tokenizer.json or instead of it
FIRST_PIECES = ["<pad>", "</s>", "<unk>"]
UNIGRAM = 1  # of SentencePiece's kinds of models
SENTINELS = 100  # transformers' default of ``extra_ids``

T5: Table = {
    **TRANSFORMERS,
    "architectures": Key(lambda v: v == ["T5EncoderModel"], "T5EncoderModel", required=True),
    "model_type": only("t5"),
    "d_model": CHANNELS.needed,
    "d_kv": CHANNELS,
    "d_ff": whole(1, 65536),
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "vocab_size": whole(1, 2**20).needed,
    "relative_attention_num_buckets": whole(2, 4096),
    "relative_attention_max_distance": whole(2, 65536),
    "feed_forward_proj": WORD,
    "dense_act_fn": WORD,
    "is_gated_act": FLAG,
    "layer_norm_epsilon": number(0, 1),
    "bos_token_id": TOKEN,
    "eos_token_id": TOKEN,
    "pad_token_id": TOKEN,
    # Of training, of the decoder, or of the task that the whole T5 was trained for.
    **dict.fromkeys(
        (
            "classifier_dropout",
            "dropout_rate",
            "n_positions",
            "num_decoder_layers",
            "output_past",
            "scale_decoder_outputs",
        ),
        HARMLESS,
    ),
    "is_decoder": OFF,
    "add_cross_attention": OFF,
    "pruned_heads": only({}, None),
    "quantization_config": NONE,
}


@dataclass(frozen=True, eq=False)
class T5Encoder:
    """A tokenizer and its encoder."""

    name: str  # the encoder's folder
    tokenizer: Any
    encoder: Any
    width: int  # D of the states
    length: int  # tokens that are read; shorter prompts are padded to it
    masked: bool  # a prompt's own tokens alone are attended to; otherwise its padding is, too

    @classmethod
    def load(
        cls,
        folder: Path,
        suffix: str,
        device: torch.device,
        dtype: torch.dtype | None,
        *,
        length: int,
        masked: bool = False,
    ) -> "T5Encoder":
        """Load ``text_encoder`` and ``tokenizer`` with this suffix from a bundle.

        Of an encoder in float16, transformers keeps the matrices that overflow in float32.

        Raises:
            BundleError: a part is missing, broken or not served.
        """
        from transformers import T5EncoderModel

        name = f"text_encoder{suffix}"
        config = read_config(folder / name, T5)
        tokenizer = load_t5_tokenizer(
            folder / f"tokenizer{suffix}", length, int(config["vocab_size"])
        )
        encoder = load_part(T5EncoderModel, folder / name, config, dtype).to(device).eval()
        encoder.requires_grad_(False)
        return cls(name, tokenizer, encoder, int(config["d_model"]), length, masked)

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return the states (L, D) of each prompt."""
        tokenized = self.tokenizer(
            prompts,
            padding="max_length",
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        ).to(self.encoder.device)
        mask = tokenized.attention_mask
        states = self.encoder(
            tokenized.input_ids, attention_mask=mask if self.masked else None
        ).last_hidden_state.float()
        lengths = mask.sum(1).tolist()
        cut = [truncation(self.name, each) for each in tokenized.encodings]
        return [
            Conditioning(
                row,
                truncations=() if found is None else (found,),
                tokens=length if self.masked else None,
            )
            for row, length, found in zip(states, lengths, cut, strict=True)
        ]


def load_t5_tokenizer(folder: Path, length: int, known: int) -> Any:
    """Return the tokenizer of ``tokenizer.json``, or else of ``spiece.model``.

    Raises:
        BundleError: it is missing, broken, or another model's; the message names the file.
    """
    from transformers import T5Tokenizer

    configs = read_jsons(folder)
    if "tokenizer.json" in configs:
        return checked(
            f"{folder.name}/tokenizer.json",
            lambda: T5Tokenizer.from_pretrained(str(folder), local_files_only=True),  # nosec B615
            length,
            known,
        )
    if not (folder / PIECES).is_file():
        raise BundleError(f"{folder.name} holds neither tokenizer.json nor {PIECES}")
    name = f"{folder.name}/{PIECES}"
    return checked(
        name,
        lambda: _of_pieces(folder / PIECES, name, configs.get("tokenizer_config.json", {})),
        length,
        known,
    )


def _of_pieces(path: Path, name: str, config: Mapping[str, Any]) -> Any:
    """Return T5's tokenizer of SentencePiece's file, as transformers makes it of one."""
    from transformers import T5Tokenizer
    from transformers.convert_slow_tokenizer import import_protobuf

    if (size := path.stat().st_size) > MAX_TOKENIZER_BYTES:
        raise BundleError(f"{name} is of {size} bytes, more than {MAX_TOKENIZER_BYTES}")
    model = import_protobuf().ModelProto()
    model.ParseFromString(path.read_bytes())
    vocabulary = [(each.piece, each.score) for each in model.pieces]
    # Both follow the pieces: a file that is cut lacks them.
    whole_file = model.HasField("trainer_spec") and model.HasField("normalizer_spec")
    if not whole_file or model.trainer_spec.model_type != UNIGRAM:
        raise BundleError(f"{name} is no unigram model of SentencePiece, or is cut")
    if [piece for piece, _ in vocabulary[:3]] != FIRST_PIECES:
        raise BundleError(f"{name} does not begin with {', '.join(FIRST_PIECES)}, as T5's does")
    extra = config.get("extra_ids", SENTINELS)
    if not whole(0, 1000).fits(extra):
        raise BundleError(f"{path.parent.name}/tokenizer_config.json: extra_ids {extra!r:.80}")
    return T5Tokenizer(
        vocab=vocabulary + [(f"<extra_id_{n}>", 0.0) for n in range(extra - 1, -1, -1)],
        _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap or None,
        extra_ids=extra,
    )
