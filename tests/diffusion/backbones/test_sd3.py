"""Stable Diffusion 3.5, with and without T5: diffusers' own pipeline is the oracle."""

import inspect
import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_flow_match_heun_discrete import FlowMatchHeunDiscreteScheduler
from torch import Tensor

from diffusion.backbones.backbone import Condition, predict
from diffusion.backbones.layout import Loaded
from diffusion.backbones.sd3 import SD3, TRANSFORMER
from diffusion.bundle.bundle import load_bundle
from diffusion.config import fault
from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json
from diffusion.parts.open import TorchParts
from diffusion.samplers.registry import SAMPLERS
from model_export.onnx.export import export_bundle
from tests.diffusion.backbones.drawing import (
    PROMPTS,
    assert_mixed_equals_solo,
    assert_resumes,
    drawn,
    levels_apart,
    mixed_requests,
    noise,
)
from tests.diffusion.backbones.flows import by_the_book, decoded
from tests.diffusion.bundle.bad_bundles import WRONG
from tests.diffusion.samplers.textbook import LOOPS
from tests.layouts.transformers import sd3
from tests.workers.harness import Pixels, image_request

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
    return SD3.load(folder, read_json(folder / INDEX), TorchParts(folder, CPU))


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
    found = predict(model.backbone(), sample, timesteps, conditions)
    for row, prompt in enumerate(PROMPTS):
        states, _, pooled, _ = pipeline.encode_prompt(
            prompt, None, None, do_classifier_free_guidance=False
        )
        one = slice(row, row + 1)
        wanted = pipeline.transformer(sample[one], states, pooled, timesteps[one]).sample[0]
        assert torch.allclose(found[row], wanted, atol=1e-5), row


def drawn_by_diffusers(pipeline: Any, prompt: str, **options: Any) -> Pixels:
    width, height = options["width"], options["height"]
    image = pipeline(
        prompt,
        num_inference_steps=options["steps"],
        guidance_scale=options["guidance_scale"],
        negative_prompt=options.get("negative_prompt", ""),
        latents=noise(16, height // 2, width // 2),
        width=width,
        height=height,
        output_type="np",
    ).images[0]
    pixels: Pixels = (image * 255).round().astype(np.uint8)
    return pixels


@BOTH
def test_images_are_those_of_the_pipeline(folders: dict[bool, Path], t5: bool) -> None:
    bundle, pipeline = load_bundle(folders[t5]), pipeline_of(folders[t5])
    usual: dict[str, Any] = {"steps": bundle.info.default_steps, "width": 32, "height": 32}
    usual["guidance_scale"] = bundle.info.default_guidance_scale
    other: dict[str, Any] = {"steps": 5, "width": 48, "height": 16, "guidance_scale": 2.5}
    for prompt, options in (
        ("a red apple", usual),
        (PROMPTS[-1], other | {"negative_prompt": "blurry"}),
        ("", other | {"steps": 1, "width": 16, "height": 48, "guidance_scale": 1.0}),
    ):
        ours = drawn(bundle, prompt, sampler="euler", schedule="model", **options)
        assert levels_apart(ours, drawn_by_diffusers(pipeline, prompt, **options)) <= 1, options


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        (FlowMatchHeunDiscreteScheduler(shift=3.0), "heun"),
        (FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), "euler"),
        (FlowMatchEulerDiscreteScheduler(shift=3.0, use_karras_sigmas=True), "euler"),
    ],
    ids=["heun", "dynamic", "karras"],
)
def test_another_scheduler_of_the_model_is_followed(
    folders: dict[bool, Path], tmp_path: Path, scheduler: Any, sampler: str
) -> None:
    folder = Path(shutil.copytree(folders[False], tmp_path / "m"))
    scheduler.save_pretrained(folder / "scheduler")
    changed(folder / INDEX, {"scheduler": ["diffusers", type(scheduler).__name__]})
    options = {"steps": 6, "width": 48, "height": 16, "guidance_scale": 4.0}
    ours = drawn(load_bundle(folder), "cat", sampler=sampler, schedule="model", **options)
    assert levels_apart(ours, drawn_by_diffusers(pipeline_of(folder), "cat", **options)) <= 1


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "unipc"])
def test_other_samplers_draw_as_they_are_published(folders: dict[bool, Path], sampler: str) -> None:
    bundle, pipeline = load_bundle(folders[True]), pipeline_of(folders[True])
    states, unwanted, pooled, unpooled = pipeline.encode_prompt("a red apple", None, None)

    def velocity(x: Tensor, timestep: Tensor) -> Tensor:
        both = (
            pipeline.transformer(x[None], each, of_each, timestep[None]).sample[0]
            for each, of_each in ((states, pooled), (unwanted, unpooled))
        )
        cond, uncond = both
        guided: Tensor = uncond + 3.0 * (cond - uncond)
        return guided

    pipeline.scheduler.set_timesteps(6)
    timesteps = pipeline.scheduler.timesteps.tolist()
    latents = by_the_book(LOOPS[sampler], velocity, noise(16, 24, 16)[0], timesteps)
    ours = drawn(
        bundle, "a red apple", sampler=sampler, schedule="model",
        steps=6, width=32, height=48, guidance_scale=3.0,
    )  # fmt: skip
    assert levels_apart(ours, decoded(pipeline, latents)) <= 1


@pytest.mark.parametrize(
    "t5", [pytest.param(True, marks=pytest.mark.full), False], ids=["T5", "no T5"]
)
def test_mixed_batch_equals_solo(folders: dict[bool, Path], t5: bool) -> None:
    samplers = [*SAMPLERS] if t5 else ["euler", "dpmpp_2m_sde", "heun"]
    assert_mixed_equals_solo(load_bundle(folders[t5]), mixed_requests(samplers, "model"))


def test_a_state_taken_up_at_any_row_ends_in_the_same_image(folders: dict[bool, Path]) -> None:
    request = image_request(prompt=PROMPTS[-1], sampler="dpmpp_2m_sde", schedule="model", steps=5)
    assert_resumes(load_bundle(folders[True]), request)


def test_layout_says_what_the_model_is(folders: dict[bool, Path]) -> None:
    info = load_bundle(folders[True]).info
    assert (info.width, info.height, info.latent_channels) == (32, 32, 16)
    assert (info.latent_scale_factor, info.side_multiple, info.max_side) == (2, 4, 48)
    assert (info.default_steps, info.default_guidance_scale) == (28, 7.0)
    assert (info.default_sampler, info.default_schedule) == ("euler", "model")
    assert (info.prediction_type, info.token_side) == ("flow_prediction", 4)


def test_sides_that_have_no_positions_are_refused(
    folders: dict[bool, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders[False], tmp_path / "m"))
    (folder / "sfumato.json").write_text('{"max_side": 48}')
    assert load_bundle(folder).info.max_side == 48
    (folder / "sfumato.json").write_text('{"max_side": 64}')
    with pytest.raises(BundleError, match=r"sfumato.json: max_side 64 is above 48, the most"):
        load_bundle(folder)


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


def test_no_key_takes_a_value_of_another_kind(folders: dict[bool, Path]) -> None:
    config = read_json(folders[True] / "transformer/config.json")
    assert fault(config, TRANSFORMER) is None
    for key, value in product(TRANSFORMER, WRONG):
        assert fault(config | {key: value}, TRANSFORMER), (key, value)


def test_the_table_has_every_key_of_the_library() -> None:
    library = set(inspect.signature(SD3Transformer2DModel.__init__).parameters) - {"self"}
    assert library - TRANSFORMER.keys() == set()


def test_an_export_is_refused_by_name(folders: dict[bool, Path], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="StableDiffusion3Pipeline is not exported to ONNX"):
        export_bundle(folders[False], "fp32", out=tmp_path / "out")
