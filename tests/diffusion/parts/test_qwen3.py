"""Qwen3 encodes prompts as diffusers does for Z-Image."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config

from diffusion.config import fault
from diffusion.errors import BundleError
from diffusion.parts.qwen3 import AFTER, BEFORE, QWEN3, Qwen3
from tests.diffusion.backbones.folders import changed
from tests.layouts.flows import z_image

TEMPLATE = len(BEFORE) - len("<|im_start|>") + len(AFTER) - len("<|im_end|><|im_start|>") + 3
"""Tokens of the form, of one byte each but for its three marks."""
PROMPTS = ("a cat", "", "ein Löwe, 蓝色的心 ", "<|im_end|> says <|endoftext|>", "\n \n", "a" * 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return z_image(tmp_path_factory.mktemp("layouts") / "z-image")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def loaded(folder: Path) -> Qwen3:
    return Qwen3.load(folder, torch.device("cpu"), torch.float32, length=512, multiple=32)


def test_prompts_are_encoded_as_the_pipeline_encodes_them(folder: Path) -> None:
    pipeline: Any = ZImagePipeline.from_pretrained(folder, local_files_only=True)
    for prompt, found in zip(PROMPTS, loaded(folder).encode([*PROMPTS]), strict=True):
        (states,), _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
        assert found.tokens == len(states)
        assert found.pooled is None
        assert torch.allclose(found.embeddings[: found.tokens], states, atol=1e-5), prompt
        assert len(found.embeddings) == -(-len(states) // 32) * 32
        assert not found.embeddings[found.tokens :].any()


@pytest.mark.parametrize(
    ("tokens", "read"), [(0, 0), (400, 400), (506, 506), (507, 506), (900, 506)]
)
def test_what_of_a_prompt_is_not_read_is_said(folder: Path, tokens: int, read: int) -> None:
    """The form before a prompt is 6 tokens here; what follows a long one is not read, either."""
    (found,) = loaded(folder).encode(["a" * tokens])
    cut = [(each.encoder, each.read, each.tokens) for each in found.truncations]
    assert cut == ([] if read == tokens else [("text_encoder", read, tokens)])
    assert found.tokens == min(512, tokens + TEMPLATE)


def test_the_tokenizer_s_own_template_is_not_run(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    (copy / "tokenizer/chat_template.jinja").write_text("{{ raise_exception('run') }}")
    (ours,), (theirs,) = (loaded(each).encode(["a cat"]) for each in (folder, copy))
    assert torch.equal(ours.embeddings, theirs.embeddings)


def test_weights_of_the_whole_language_model_are_taken(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    path = copy / "text_encoder/model.safetensors"
    tensors = {f"model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors | {"lm_head.weight": torch.zeros(300, 32)}, path, {"format": "pt"})
    changed(copy / "text_encoder/config.json", {"architectures": ["Qwen3ForCausalLM"]})
    (ours,), (theirs,) = (loaded(each).encode(["a cat"]) for each in (folder, copy))
    assert torch.equal(ours.embeddings, theirs.embeddings)


def test_the_configuration_as_it_was_written_until_transformers_5_is_read(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    path = copy / "text_encoder/config.json"
    config = json.loads(path.read_text())
    for key in ("rope_parameters", "layer_types"):
        del config[key]
    former = {"rope_theta": 1_000_000, "rope_scaling": None, "sliding_window": None}
    path.write_text(json.dumps(config | former | {"max_window_layers": 36}))
    (ours,), (theirs,) = (loaded(each).encode(["a cat"]) for each in (folder, copy))
    assert torch.equal(ours.embeddings, theirs.embeddings)


@pytest.mark.parametrize("mark", ["<|im_start|>", "<|im_end|>"])
def test_a_tokenizer_without_the_marks_of_a_message_is_refused(
    folder: Path, tmp_path: Path, mark: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = copy / "tokenizer" / name
        path.write_text(path.read_text().replace(mark, "<|other|>"))
    message = f"tokenizer/tokenizer.json has no token {mark}".replace("|", r"\|")
    with pytest.raises(BundleError, match=message):
        loaded(copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_broken_tokenizer_is_named(folder: Path, tmp_path: Path, name: str, harm: str) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    path = copy / "tokenizer" / name
    text = path.read_text()
    path.unlink() if harm == "missing" else path.write_text(text[: len(text) // 2])
    with pytest.raises(BundleError, match=f"tokenizer/{name}"):
        loaded(copy)


def test_a_tokenizer_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "m"))
    changed(copy / "text_encoder/config.json", {"vocab_size": 200})
    with pytest.raises(BundleError, match="the text encoder knows 200"):
        loaded(copy)


def test_the_published_configuration_is_taken() -> None:
    config = {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 2560, "initializer_range": 0.02, "intermediate_size": 9728,
        "max_position_embeddings": 40960, "max_window_layers": 36, "model_type": "qwen3",
        "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
        "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
        "vocab_size": 151936,
    }  # fmt: skip
    assert fault(config, QWEN3) is None


def test_the_table_has_every_key_of_the_library() -> None:
    assert Qwen3Config().to_dict().keys() - QWEN3.keys() == {"_name_or_path"}  # of a note
