"""What is no checkpoint of a family that is read is refused by what it is, in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from diffusion.checkpoints.single_file import convert, read_checkpoint
from diffusion.errors import BundleError
from tests.diffusion.checkpoints import original
from tests.diffusion.checkpoints.models import SD1, SD2, SDXL, tiny
from tests.diffusion.checkpoints.original import Tensors

UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"


def few(*names: str) -> Tensors:
    return {name: torch.zeros(4, 4, 1, 1) for name in names}


def with_channels(count: int) -> Tensors:
    tensors = tiny(SD1).tensors()
    return tensors | {CONV_IN: torch.zeros(32, count, 3, 3)}


def without(*prefixes: str) -> Tensors:
    return {n: t for n, t in tiny(SD1).tensors().items() if not n.startswith(prefixes)}


def refiner() -> Tensors:
    second = "conditioner.embedders.1."
    found = {n: t for n, t in tiny(SDXL).tensors().items() if "embedders.0." not in n}
    return {n.replace(second, "conditioner.embedders.0."): t for n, t in found.items()}


def retyped(dtype: torch.dtype) -> Tensors:
    tensors = tiny(SD1).tensors()
    big = {n: t.to(dtype) for n, t in tensors.items() if n.startswith(UNET) and t.ndim > 1}
    return tensors | big


def more_words() -> Tensors:
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    return tiny(SD1).tensors() | {name: torch.zeros(49410, 64)}


FILES: dict[str, tuple[Callable[[], Tensors], str]] = {
    "inpainting": (lambda: with_channels(9), "an inpainting model: its UNet takes 9 channels"),
    "editing": (lambda: with_channels(8), "InstructPix2Pix"),
    "depth": (lambda: with_channels(5), "depth-to-image"),
    "upscaler": (lambda: with_channels(7), "an upscaler"),
    "strange": (lambda: with_channels(6), "of another kind: its UNet takes 6 channels, not 4"),
    "refiner": (refiner, "a refiner"),
    "unclip": (lambda: tiny(SD2).tensors() | few("embedder.model.proj"), "an unCLIP model"),
    "controlnet": (
        lambda: tiny(SD1).tensors() | few("control_model.time_embed.0.weight"), "a ControlNet",
    ),
    "diffusers-controlnet": (
        lambda: few("controlnet_cond_embedding.conv_in.weight", "conv_in.weight"), "a ControlNet",
    ),
    "ip-adapter": (lambda: few("image_proj.proj.weight", "ip_adapter.1.to_k.weight"), "adapter"),
    "motion": (lambda: few("down_blocks.0.motion_modules.0.weight"), "a motion module"),
    "kohya-lora": (lambda: few("lora_unet_mid_block.lora_down.weight"), "a LoRA"),
    "peft-lora": (lambda: few("unet.mid_block.attn1.to_q.lora_A.weight"), "a LoRA"),
    "lokr": (lambda: few("lycoris_mid_block.lokr_w1"), "a LoRA"),
    "inversion": (lambda: {"emb_params": torch.zeros(4, 768)}, "a textual inversion"),
    "sdxl-inversion": (
        lambda: {"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)},
        "a textual inversion",
    ),
    "vae": (lambda: original.vae(tiny(SD1).vae, ""), "a VAE alone"),
    "diffusers-unet": (lambda: dict(tiny(SD1).unet.state_dict()), "one part of a diffusers"),
    "unet": (lambda: without("cond_stage_model.", "first_stage_model."), "no text encoder"),
    "no-unet": (lambda: without(UNET, "first_stage_model."), "of another model, or of a part"),
    "flux": (
        lambda: few("double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight"),
        "flux-schnell",
    ),
    "sd35": (lambda: few("joint_blocks.37.x_block.mlp.fc1.weight"), "sd35_large"),
    "cosxl": (
        lambda: tiny(SDXL).tensors() | {"edm_vpred.sigma_max": torch.ones(99)},
        "edm_vpred.sigma_max is [99], not a few numbers",
    ),
    "playground": (
        lambda: tiny(SDXL).tensors() | {"edm_mean": torch.ones(1, 4, 1, 1)},
        "edm_mean and edm_std are of use together only",
    ),
    "edm-of-sd1": (
        lambda: tiny(SD1).tensors() | {"edm_mean": torch.ones(1, 4, 1, 1)},
        "edm_mean in a file of Stable Diffusion 1.5",
    ),
    "fp8": (lambda: retyped(torch.float8_e4m3fn), "F8_E4M3"),
    "fp8-e5m2": (lambda: retyped(torch.float8_e5m2), "F8_E5M2"),
    "int8": (lambda: retyped(torch.int8), "I8"),
    "nf4": (lambda: retyped(torch.uint8), "U8"),
    "more-words": (more_words, "49410 tokens"),
    "nothing": (dict, "it holds no tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_it_is_refused_by_what_it_is(tmp_path: Path, name: str) -> None:
    make, what = FILES[name]
    file = original.write(tmp_path / f"{name}.safetensors", make())
    with pytest.raises(BundleError) as refused:
        convert(file, tmp_path / "m")
    said = str(refused.value)
    assert what in said
    assert said.startswith(f"{name}.safetensors")
    assert len(said) < 300
    assert not (tmp_path / "m").exists()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4265380512\n"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("m.ckpt", b"PK\x03\x04" + bytes(100), "a pickle"),
        ("m.pt", b"\x80\x02}q\x00." + bytes(100), "a pickle"),
        ("m.safetensors", b"PK\x03\x04" + bytes(100), "a pickle"),
        ("m.bin", bytes(100), "a pickle"),
        ("m.gguf", b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF file"),
        ("m.safetensors", b"GGUF\x03\x00\x00\x00" + bytes(100), "a GGUF file"),
        ("m.safetensors", b"<!DOCTYPE html><html>" + bytes(100), "a web page"),
        ("m.safetensors", LFS, "a pointer of Git LFS"),
        ("m.safetensors", b"", "not a sound safetensors file"),
        ("m.safetensors", save({"a": torch.zeros(9, 9, 9)})[:-1], "not a sound safetensors file"),
    ],
)
def test_another_format_is_named(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BundleError, match=what) as refused:
        read_checkpoint(file)
    assert name in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.safetensors: No such file"):
        read_checkpoint(tmp_path / "gone.safetensors")
    with pytest.raises(BundleError, match="is no file"):
        read_checkpoint(tmp_path)


def test_what_is_no_float_but_a_count_is_no_quantisation(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = tiny(SD1).tensors()
    assert any(not tensor.is_floating_point() for tensor in tensors.values())
    read_checkpoint(original.write(tmp_path / "m.safetensors", tensors))
