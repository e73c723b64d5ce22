"""Bundles: Stable Diffusion's layouts drawn as diffusers draws them, and what is refused."""

import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.typing import NDArray

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.codec import KLDecoder
from diffusion.errors import BundleError, DiffusionError
from diffusion.files import digest
from diffusion.model import MAX_NAME_CHARS
from diffusion.parts.open import load_decoder
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from jobs.schema import JobRequest
from model_export.evaluation.sampling import SamplingSettings, draw
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sd15, sdxl

SETTINGS = SamplingSettings(sampler="ddim", schedule="leading", steps=5, guidance_scale=4.0)
SEED = 11


@pytest.fixture(scope="module")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15(tmp_path_factory.mktemp("layouts") / "sd15")


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl(tmp_path_factory.mktemp("layouts") / "sdxl")


def drawn_by_diffusers(kind: Any, folder: Path, prompt: str) -> NDArray[np.uint8]:
    """Return the pipeline's own image from our starting noise."""
    pipeline = kind.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        timestep_spacing="leading",
        clip_sample=False,
        set_alpha_to_one=True,  # ours ends at level 0
    )
    noise = torch.from_numpy(standard_noise(SEED, IMAGES, INITIAL_ROW, (4, 16, 16)))[None]
    result = pipeline(
        prompt,
        num_inference_steps=SETTINGS.steps,
        guidance_scale=SETTINGS.guidance_scale,
        latents=noise,
        width=32,
        height=32,
        output_type="np",
    )
    image: NDArray[np.uint8] = (result.images[0] * 255).round().astype(np.uint8)
    return image


def drawn_by_us(folder: Path, prompt: str) -> NDArray[np.uint8]:
    return next(iter(draw(load_bundle(folder), [prompt], [SEED], SETTINGS)))


def levels_apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    assert a.shape == b.shape == (32, 32, 3)
    assert a.std() > 1, "a flat image proves nothing"
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("layout", ["sd15", "sdxl", "sdxl without zeros for the empty prompt"])
def test_stable_diffusion_is_drawn_as_diffusers_draws_it(
    layout: str, sd15_folder: Path, sdxl_folder: Path, tmp_path: Path
) -> None:
    match layout:
        case "sd15":
            folder = sd15_folder
        case "sdxl":
            folder = sdxl_folder
        case _:
            folder = sdxl(tmp_path / "sdxl", zeros_for_empty_prompt=False)
    kind = StableDiffusionPipeline if layout == "sd15" else StableDiffusionXLPipeline
    theirs = drawn_by_diffusers(kind, folder, "a red apple")
    assert levels_apart(drawn_by_us(folder, "a red apple"), theirs) <= 1


def test_layout_says_what_the_model_is(sd15_folder: Path, sdxl_folder: Path) -> None:
    for folder in (sd15_folder, sdxl_folder):
        info = load_bundle(folder).info
        assert (info.width, info.height, info.latent_channels) == (32, 32, 4)
        assert (info.latent_scale_factor, info.side_multiple) == (2, 4)
        assert (info.prediction_type, info.num_train_timesteps) == ("epsilon", 1000)
        assert info.sha256 == digest(folder)


def test_a_name_that_is_asked_for_wins_over_the_bundle_s_own(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny")
    (folder / "sfumato.json").write_text('{"name": "its-own", "title": "Tiny"}')
    assert load_bundle(folder).info.name == "its-own"
    mine = load_bundle(folder, name="mine").info
    assert (mine.name, mine.title) == ("mine", "Tiny")


def test_prompts_encoded_alone_are_those_encoded_together(sdxl_folder: Path) -> None:
    bundle = load_bundle(sdxl_folder)
    prompts = ["a cat", "", "ein sehr langer Satz " * 40]
    together = bundle.encode_prompts(prompts)
    for one, other in zip(together, bundle.encode_prompts(prompts, alone=True), strict=True):
        assert one.embeddings.shape == (77, 64)
        assert torch.allclose(one.embeddings, other.embeddings, atol=1e-5)
        assert one.pooled is not None
        assert other.pooled is not None
        assert torch.allclose(one.pooled, other.pooled, atol=1e-5)
    assert together[1].embeddings.any()
    assert not bundle.encode_negative("").embeddings.any()
    assert bundle.encode_negative("a cat").embeddings.any()


def test_half_precision_variant_is_found(tmp_path: Path, sd15_folder: Path) -> None:
    """Hubs keep half-precision weights as …fp16.safetensors beside, or instead of, the others."""
    folder = shutil.copytree(sd15_folder, tmp_path / "half")
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert np.array_equal(drawn_by_us(folder, "a dog"), drawn_by_us(sd15_folder, "a dog"))


def test_snapshot_of_the_hubs_cache_is_read_by_links(tmp_path: Path, sd15_folder: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123abc"
    blobs.mkdir()
    for n, path in enumerate(p for p in sorted(sd15_folder.rglob("*")) if p.is_file()):
        shutil.copyfile(path, blobs / str(n))
        link = snapshot / path.relative_to(sd15_folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / str(n))
    assert load_bundle(snapshot).info.sha256 == digest(sd15_folder)


class Trap:
    """Would run a command if it were unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("false",)


def _torch_zip() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("unet/diffusion_pytorch_model.bin", b"anything", "may hold a pickle"),
        ("v1-5-pruned.ckpt", b"anything", "may hold a pickle"),
        ("text_encoder/pytorch_model.pt", b"anything", "may hold a pickle"),
        ("unet/renamed.safetensors", _torch_zip(), "may hold a pickle"),
        ("vae/config.txt", pickle.dumps(Trap()), "may hold a pickle"),
        ("tokenizer/words.npy", b"\x93NUMPY", "may hold a pickle"),
        ("unet/modeling.py", b"print()", "is code"),
    ],
)
def test_pickle_and_code_are_refused_wherever_they_are(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    folder = tiny_bundle(tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{Path(name).name} {fault}"):
        load_bundle(folder)


def test_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "vae" / "extra.json").symlink_to(secret)
    with pytest.raises(BundleError, match=r"extra\.json is a link that leaves the bundle"):
        load_bundle(folder)


def set_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("unet/config.json", {"_class_name": "UNet3D"}, "unet/config.json: 'UNet3D'"),
        ("unet/config.json", {"auto_map": {"AutoModel": "own.Mine"}}, "asks for remote code"),
        ("unet/config.json", {"cross_attention_dim": 8}, "unet"),
        ("unet/config.json", {"sample_size": [8, 12]}, r"sample_size \[8, 12\] is not one side"),
        ("vae/config.json", {"_class_name": "Mystery"}, "vae/config.json: 'Mystery'"),
        ("vae/config.json", {"patch_size": 4}, "vae"),
        ("text_encoder/config.json", {"architectures": ["T5"]}, "T5.* is not served"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "flow"),
        ("unet/config.json", {"in_channels": 9}, "takes 9 channels and gives 4: .* inpainting"),
        ("unet/config.json", {"num_class_embeds": 5}, "with num_class_embeds is not served"),
        ("unet/config.json", {"addition_embed_type": "image"}, "'image' is unknown"),
        ("vae/config.json", {"latent_channels": 16}, "vae"),
        ("sfumato.json", {"colour": 3}, "unknown keys colour"),
    ],
)
def test_part_we_cannot_serve_is_named(
    tmp_path: Path, name: str, values: dict[str, object], message: str
) -> None:
    folder = tiny_bundle(tmp_path / "m")
    set_json(folder / name, **values)
    with pytest.raises(DiffusionError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("m", {"device": "gpu"}, "the device 'gpu' cannot be used: "),
        ("m", {"device": "cuda:99"}, "the device 'cuda:99' cannot be used: "),
        ("m", {"backend": "jax"}, "unknown backend 'jax'"),
        ("nowhere", {}, "nowhere is not a directory"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, folder: str, options: Any, message: str) -> None:
    tiny_bundle(tmp_path / "m")
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / folder, **options)


def test_defaults_that_nothing_can_be_drawn_with_are_refused(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    text = (folder / "sfumato.json").read_text()
    for key, value, message in (
        ("side_multiple", 8, "side_multiple 8 is not a multiple of 16"),
        ("width", "64", "width cannot be '64'"),
        ("height", 40, "height 40 is not a multiple of 16 from 16 to 64"),
        ("max_side", 16, "width 32 is not a multiple of 16 from 16 to 16"),
        ("max_pixels", 256, "32x32 is above max_pixels"),
        ("default_steps", 0, "default_steps cannot be 0"),
        ("default_guidance_scale", True, "default_guidance_scale cannot be True"),
        ("default_sampler", "eulr", "unknown default_sampler 'eulr'; available: ddpm"),
        ("default_schedule", "karas", "default_schedule 'karas' is not one of leading, "),
        ("languages", "en", "languages cannot be 'en'"),
        ("title", "", "title cannot be ''"),
    ):
        (folder / "sfumato.json").write_text(text)
        set_json(folder / "sfumato.json", **{key: value})
        with pytest.raises(BundleError, match=message):
            load_bundle(folder)


def test_a_schedule_of_a_scheduler_that_is_not_followed_is_no_default(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    set_json(folder / "scheduler" / "scheduler_config.json", _class_name="TCDScheduler")
    set_json(folder / "sfumato.json", default_schedule="model")
    with pytest.raises(BundleError, match="takes; 'model': TCDScheduler "):
        load_bundle(folder)


def test_a_model_s_own_scheduler_is_the_default(
    sd15_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def defaults(**values: object) -> tuple[str, str]:
        (folder / "sfumato.json").write_text(json.dumps(values))
        info = load_bundle(folder).info
        return info.default_sampler, info.default_schedule

    folder = Path(shutil.copytree(sd15_folder, tmp_path / "m"))
    assert defaults() == ("plms", "model")
    assert defaults(default_sampler="euler") == ("euler", "model")
    assert defaults(default_schedule="sampler") == ("plms", "sampler")
    assert defaults(default_schedule="karras") == ("plms", "karras")
    assert caplog.messages == []
    set_json(folder / "model_index.json", scheduler=["diffusers", "TCDScheduler"])
    assert defaults() == ("dpmpp_2m", "sampler")
    assert caplog.messages == [
        "scheduler/scheduler_config.json is not followed: TCDScheduler has no sampler of ours"
    ]


def test_only_a_decoder_of_sdxl_that_asks_for_it_is_kept_from_halves(
    sd15_folder: Path, sdxl_folder: Path, tmp_path: Path
) -> None:
    fixed = Path(shutil.copytree(sdxl_folder, tmp_path / "fixed"))
    set_json(fixed / "vae" / "config.json", force_upcast=False)
    halves = torch.float16
    for folder, wanted in ((sdxl_folder, torch.float32), (fixed, halves), (sd15_folder, halves)):
        decoder, _ = load_decoder(folder, torch.device("cpu"), torch.float16)
        assert isinstance(decoder, KLDecoder)
        assert decoder.vae.dtype == wanted


@pytest.mark.parametrize(
    "name",
    ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "vae/config.json",
     "text_encoder/config.json", "tokenizer/tokenizer.json",
     "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("harm", ["missing", "cut", "garbled"])
def test_broken_file_is_a_bundle_error(tmp_path: Path, name: str, harm: str) -> None:
    folder = tiny_bundle(tmp_path / "m")
    path = folder / name
    content = path.read_bytes()
    harms = {"cut": content[: len(content) // 2], "garbled": b"{]" + content[2:]}
    path.unlink()
    if harm in harms:
        path.write_bytes(harms[harm])
    with pytest.raises(BundleError):
        load_bundle(folder)


def test_digest_is_of_what_draws(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    before = digest(folder)
    (folder / "README.md").write_text("words")
    assert digest(folder) == before
    set_json(folder / "scheduler" / "scheduler_config.json", steps_offset=1)
    assert digest(folder) != before


def test_batched_decoding_is_decoding_alone(sd15_folder: Path) -> None:
    bundle: Bundle = load_bundle(sd15_folder)
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    together, alone = bundle.decode(latents), bundle.decode(latents, alone=True)
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together.astype(int) - alone).max() <= 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("n" * 65, "has 65 characters, more than 64"),
        ("../other", "is a path"),
        ("org/model", "is a path"),
        ("..", "is a path"),
        (" blank", "is blank at an end"),
        ("two\nlines", "characters that cannot be printed"),
    ],
)
def test_a_name_that_nobody_can_ask_for_is_refused(tmp_path: Path, name: str, message: str) -> None:
    folder = tiny_bundle(tmp_path / "m")
    set_json(folder / "sfumato.json", name=name)
    with pytest.raises(BundleError, match=f"the model's name .* {message}"):
        load_bundle(folder)
    assert load_bundle(folder, name="n" * 64).info.name == "n" * 64


def test_the_longest_name_is_the_longest_that_a_request_takes() -> None:
    lengths = [limit.max_length for limit in JobRequest.model_fields["model"].metadata]
    assert lengths == [MAX_NAME_CHARS]


@pytest.mark.parametrize("scale", [0.5, 31, -1, 1e400])
def test_a_default_that_no_request_may_ask_for_is_refused(tmp_path: Path, scale: float) -> None:
    folder = tiny_bundle(tmp_path / "m")
    set_json(folder / "sfumato.json", default_guidance_scale=scale)
    with pytest.raises(BundleError, match="default_guidance_scale cannot be"):
        load_bundle(folder)


def test_digest_is_also_of_how_an_empty_prompt_is_read(sdxl_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sdxl_folder, tmp_path / "m"))
    before = load_bundle(folder)
    set_json(folder / "model_index.json", force_zeros_for_empty_prompt=False)
    after = load_bundle(folder)
    assert not torch.equal(*(b.encode_negative("").embeddings for b in (before, after)))
    assert before.info.sha256 != after.info.sha256
