"""Stable Diffusion 3.5, with and without T5: diffusers' own pipeline is the oracle."""

import inspect
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)

from diffusion.backbones.backbone import Condition
from diffusion.backbones.layout import Loaded
from diffusion.backbones.sd3 import SD3, TRANSFORMER
from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.parts.open import TorchParts
from tests.diffusion.backbones.drawing import PROMPTS
from tests.layouts import sd3

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("t5", [True, False], ids=["T5", "no T5"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    place = tmp_path_factory.mktemp("layouts")
    return {t5: sd3(place / f"sd3-{t5}", t5=t5) for t5 in (True, False)}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def loaded(folder: Path) -> Loaded:
    return SD3.load(folder, read_json(folder / "model_index.json"), TorchParts(folder, CPU))


def pipeline_of(folder: Path) -> Any:
    absent = {} if (folder / "text_encoder_3").is_dir() else {"text_encoder_3": None}
    if absent:
        absent["tokenizer_3"] = None
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, local_files_only=True, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@BOTH
def test_prompts_are_encoded_as_the_pipeline_encodes_them(
    folders: dict[bool, Path], t5: bool
) -> None:
    text, pipeline = loaded(folders[t5]).text, pipeline_of(folders[t5])
    for prompt in PROMPTS:
        (found,) = text.encode([prompt])
        states, _, pooled, _ = pipeline.encode_prompt(
            prompt, None, None, do_classifier_free_guidance=False
        )
        assert found.embeddings.shape == (77 + 256, 72)
        assert torch.equal(found.embeddings, states[0])
        assert found.pooled is not None
        assert torch.equal(found.pooled, pooled[0])
        assert found.tokens is None
        encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")[: 2 + t5]
        cut = encoders if prompt == PROMPTS[-1] else ()
        assert tuple(each.encoder for each in found.truncations) == cut


@BOTH
def test_each_row_is_the_transformer_s_own_whatever_is_beside_it(
    folders: dict[bool, Path], t5: bool
) -> None:
    model, pipeline = loaded(folders[t5]), pipeline_of(folders[t5])
    conditions = [Condition(each, (32, 32)) for each in model.text.encode([*PROMPTS])]
    sample = torch.randn(4, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([1000.0, 500.25, 20.0, 8.9])
    found = model.backbone().predict(sample, timesteps, conditions)
    for row, prompt in enumerate(PROMPTS):
        states, _, pooled, _ = pipeline.encode_prompt(
            prompt, None, None, do_classifier_free_guidance=False
        )
        one = slice(row, row + 1)
        wanted = pipeline.transformer(sample[one], states, pooled, timesteps[one]).sample[0]
        assert torch.allclose(found[row], wanted, atol=1e-5), row


def test_layout_says_what_the_network_takes(folders: dict[bool, Path]) -> None:
    model = loaded(folders[True])
    assert (model.channels, model.side, model.multiple, model.max_side) == (16, 16, 2, 24)


def changed(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("transformer", {"_class_name": "FluxTransformer2DModel"}, "_class_name"),
        ("transformer", {"out_channels": 32}, "takes 16 channels and gives 32"),
        ("transformer", {"caption_projection_dim": 64}, "caption_projection_dim is 64, not 32"),
        ("transformer", {"pooled_projection_dim": 48}, "is 48, the CLIPs give 64"),
        ("transformer", {"joint_attention_dim": 80}, "is 80, text_encoder_3 gives 72"),
        ("transformer", {"sample_size": 15}, "sample_size 15 is no multiple of patch_size 2"),
        ("transformer", {"pos_embed_max_size": 7}, "sample_size 16 takes more than 7 patches"),
        ("transformer", {"pos_embed_max_size": None}, "pos_embed_max_size None"),
        ("transformer", {"dual_attention_layers": ["all"]}, "dual_attention_layers"),
        ("transformer", {"qk_norm": "l2"}, "qk_norm 'l2'"),
        ("transformer", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("transformer", {"dual_attention_layers": []}, "weights are unexpected"),
        ("text_encoder_3", {"architectures": ["UMT5EncoderModel"]}, "architectures"),
        ("text_encoder_3", {"zigzag": 1}, "the key 'zigzag' is unknown"),
        ("text_encoder_2", {"architectures": ["CLIPTextModel"]}, "text_encoder_2"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    folders: dict[bool, Path], tmp_path: Path, file: str, values: dict[str, Any], named: str
) -> None:
    folder = Path(shutil.copytree(folders[True], tmp_path / "m"))
    changed(folder / file / "config.json", values)
    with pytest.raises(BundleError, match=named) as refused:
        loaded(folder).backbone()
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith((file, "transformer"))


def test_the_table_has_every_key_of_the_library() -> None:
    library = set(inspect.signature(SD3Transformer2DModel.__init__).parameters) - {"self"}
    assert library - TRANSFORMER.keys() == set()
