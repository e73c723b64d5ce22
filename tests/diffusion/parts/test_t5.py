"""T5: its tokenizer from either file, its weights as people store them, and what it reads."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from diffusion.config import fault
from diffusion.errors import BundleError
from diffusion.model import Truncation
from diffusion.parts.t5 import T5, T5Encoder, load_t5_tokenizer
from tests.layouts.parts import pieces_instead, t5_pieces
from tests.layouts.transformers import pixart

CPU = torch.device("cpu")
PROMPTS = ["a red apple", "", "Straße, apple\n apple?", "re re <extra_id_7> </s> e"]
BPE = 2  # of SentencePiece's kinds of models


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixart(tmp_path_factory.mktemp("layouts") / "sigma")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "m"))


def load(folder: Path, dtype: torch.dtype = torch.float32, *, masked: bool = True) -> T5Encoder:
    return T5Encoder.load(folder, "", CPU, dtype, length=30, masked=masked)


def test_both_files_of_a_tokenizer_give_the_same_tokens(folder: Path) -> None:
    wanted = load_t5_tokenizer(folder / "tokenizer", 30, 256)(PROMPTS)
    pieces_instead(folder)
    found = load_t5_tokenizer(folder / "tokenizer", 30, 256)(PROMPTS)
    assert found.input_ids == wanted.input_ids
    (folder / "tokenizer/tokenizer_config.json").unlink()
    again = load_t5_tokenizer(folder / "tokenizer", 30, 256)(PROMPTS[:3])
    assert again.input_ids == wanted.input_ids[:3]


def test_what_is_not_read_is_said(folder: Path) -> None:
    short, long = load(folder).encode(["a red apple", "apple " * 40])
    assert (short.truncations, short.tokens) == ((), 4)
    assert long.tokens == 30
    assert long.truncations == (Truncation("text_encoder", 29, 40),)


def test_padding_is_masked_where_it_is_asked_for(folder: Path) -> None:
    text = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    tokens = load_t5_tokenizer(folder / "tokenizer", 30, 256)(
        "a red apple", padding="max_length", max_length=30, return_tensors="pt"
    )
    for masked in (False, True):
        (found,) = load(folder, masked=masked).encode(["a red apple"])
        mask = tokens.attention_mask if masked else None
        with torch.inference_mode():
            wanted = text(tokens.input_ids, attention_mask=mask).last_hidden_state[0]
        assert torch.equal(found.embeddings, wanted)
        assert found.tokens == (4 if masked else None)


def test_matrices_that_overflow_in_float16_stay_in_float32(folder: Path) -> None:
    path = folder / "text_encoder/model.safetensors"
    save_file({k: t.half() for k, t in load_file(path).items()}, path, {"format": "pt"})
    t5 = load(folder, torch.float16)
    dtypes = {name: tensor.dtype for name, tensor in t5.encoder.named_parameters()}
    kept = {name for name, dtype in dtypes.items() if dtype == torch.float32}
    assert kept == {name for name in dtypes if name.endswith("wo.weight")}
    (found,) = t5.encode(["a red apple"])
    assert found.embeddings.dtype == torch.float32
    assert torch.isfinite(found.embeddings).all()


@pytest.mark.parametrize("stored", [("shared",), ("encoder.embed_tokens",), ("shared", "both")])
def test_embeddings_may_be_stored_under_either_name(folder: Path, stored: tuple[str, ...]) -> None:
    (wanted,) = load(folder).encode(["a red apple"])
    path = folder / "text_encoder/model.safetensors"
    tensors = load_file(path)
    matrix = tensors.pop("shared.weight")
    names = ("shared", "encoder.embed_tokens") if "both" in stored else stored
    save_file(
        tensors | {f"{name}.weight": matrix.clone() for name in names}, path, {"format": "pt"}
    )
    (found,) = load(folder).encode(["a red apple"])
    assert torch.equal(found.embeddings, wanted.embeddings)


def test_shards_are_read(folder: Path) -> None:
    (wanted,) = load(folder).encode(["a red apple"])
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    shutil.rmtree(folder / "text_encoder")
    encoder.save_pretrained(folder / "text_encoder", max_shard_size="30KB")
    assert (folder / "text_encoder/model.safetensors.index.json").exists()
    (found,) = load(folder).encode(["a red apple"])
    assert torch.equal(found.embeddings, wanted.embeddings)
    next(folder.glob("text_encoder/*-00002-of-*.safetensors")).unlink()
    with pytest.raises(BundleError, match=r"text_encoder/model-00002-of-\d+.safetensors"):
        load(folder)


def test_shards_of_a_variant_are_read(folder: Path) -> None:
    (wanted,) = load(folder).encode(["a red apple"])
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    shutil.rmtree(folder / "text_encoder")
    half = encoder.half()
    half.save_pretrained(folder / "text_encoder", max_shard_size="30KB", variant="fp16")
    assert (folder / "text_encoder/model.safetensors.index.fp16.json").exists()
    t5 = T5Encoder.load(folder, "", CPU, None, length=30, masked=True)
    assert t5.encoder.dtype == torch.float16
    (found,) = t5.encode(["a red apple"])
    assert torch.allclose(found.embeddings, wanted.embeddings, atol=0.02)


def test_embeddings_under_no_name_are_missing(folder: Path) -> None:
    path = folder / "text_encoder/model.safetensors"
    tensors = load_file(path)
    del tensors["shared.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(BundleError, match=r"text_encoder/model.safetensors: 2 weights are missing"):
        load(folder)


def test_pieces_that_are_no_t5_s_are_refused(folder: Path) -> None:
    path = pieces_instead(folder) / "tokenizer/spiece.model"
    content = path.read_bytes()
    for cut in (0, len(content) // 2, len(content) - 12, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(BundleError, match=r"tokenizer/spiece.model"):
            load(folder)
    path.write_bytes(b"\x80 no pieces")
    with pytest.raises(BundleError, match=r"tokenizer/spiece.model"):
        load(folder)
    path.unlink()
    with pytest.raises(BundleError, match=r"tokenizer holds neither tokenizer.json nor spiece"):
        load(folder)


@pytest.mark.parametrize(
    ("pieces", "kind", "named"),
    [
        ([("<s>", 0.0), *t5_pieces()], 1, "does not begin with <pad>, </s>, <unk>"),
        (t5_pieces(), BPE, "is no unigram model"),
        ([*t5_pieces(), *((f"x{n}", -9.0) for n in range(200))], 1, "the text encoder knows 256"),
    ],
)
def test_pieces_of_another_model_are_refused(
    folder: Path, pieces: list[tuple[str, float]], kind: int, named: str
) -> None:
    pieces_instead(folder, pieces, kind)
    with pytest.raises(BundleError, match=f"tokenizer/spiece.model.*{named}"):
        load(folder)


@pytest.mark.parametrize("extra", [-1, "many", 10**9, None])
def test_a_number_of_sentinels_that_is_none_is_refused(folder: Path, extra: object) -> None:
    pieces_instead(folder)
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps({"extra_ids": extra}))
    with pytest.raises(BundleError, match=r"tokenizer/tokenizer_config.json: extra_ids"):
        load(folder)


def test_the_table_has_every_key_of_the_library() -> None:
    for activation in ("relu", "gated-gelu"):
        config = T5Config(feed_forward_proj=activation, architectures=["T5EncoderModel"]).to_dict()
        assert fault(config, T5) is None
