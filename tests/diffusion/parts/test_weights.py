"""Weights that are not the network's are refused by name before any are loaded."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.bundle.bundle import load_bundle
from diffusion.errors import BundleError
from diffusion.files import check_files
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sd15, sdxl

PARTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "text_encoder_2": "model.safetensors",
}


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl(tmp_path_factory.mktemp("layouts") / "sdxl")


@pytest.fixture
def folder(sdxl_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sdxl_folder, tmp_path / "m"))


def change(path: Path, rename: dict[str, str | None], **more: torch.Tensor) -> None:
    """Rename tensors of a file, or drop those renamed to None, and add others."""
    kept = {rename.get(name, name): tensor for name, tensor in load_file(path).items()}
    save_file({name: t for name, t in kept.items() if name is not None} | more, path)


@pytest.mark.parametrize("part", PARTS)
def test_other_names_are_counted_and_named(folder: Path, part: str) -> None:
    path = folder / part / PARTS[part]
    names = sorted(load_file(path))
    change(path, {name: f"model.{name}" for name in names})
    many = rf"{part}/{path.name}: {len(names)} weights are missing \(.+, .+, .+, …\) and "
    many += rf"{len(names)} weights are unexpected \(model\..+, …\)"
    with pytest.raises(BundleError, match=many):
        load_bundle(folder)


@pytest.mark.parametrize("part", PARTS)
def test_one_weight_too_few_or_too_many_is_named(folder: Path, part: str) -> None:
    path = folder / part / PARTS[part]
    name, *_ = sorted(load_file(path))
    whole = path.read_bytes()
    change(path, {name: None})
    short = re.escape(name.removeprefix("text_model."))
    with pytest.raises(BundleError, match=rf"{part}/.*: 1 weights are missing \({short}\)$"):
        load_bundle(folder)
    path.write_bytes(whole)
    change(path, {}, lora_A=torch.zeros(2))
    with pytest.raises(BundleError, match=rf"{part}/.*: 1 weights are unexpected \(lora_A\)$"):
        load_bundle(folder)


@pytest.mark.parametrize("part", PARTS)
def test_another_shape_or_a_dtype_without_fractions_is_named(folder: Path, part: str) -> None:
    path = folder / part / PARTS[part]
    tensors = load_file(path)
    name = next(n for n, t in sorted(tensors.items()) if t.ndim == 1 and len(t) > 2)
    size = len(tensors[name])
    for wrong, message in (
        (torch.zeros(size + 1), rf"is \[{size + 1}\], and \[{size}\] by its configuration"),
        (torch.zeros(size, dtype=torch.int8), "is of I8, which is not served"),
    ):
        save_file(tensors | {name: wrong}, path)
        with pytest.raises(BundleError, match=rf"{part}/{path.name}: .* {message}"):
            load_bundle(folder)


def test_what_libraries_have_renamed_or_left_behind_is_no_fault(
    tmp_path: Path, sdxl_folder: Path
) -> None:
    folder = sd15(tmp_path / "sd15")
    encoder = folder / "text_encoder" / "model.safetensors"
    names = [name for name in load_file(encoder) if not name.startswith("text_model.")]
    change(
        encoder,
        {name: f"text_model.{name}" for name in names},
        **{
            "text_model.embeddings.position_ids": torch.arange(77)[None],
            "logit_scale": torch.ones(()),
            "visual_projection.weight": torch.ones(2, 2),
        },
    )
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    vae = folder / "vae" / PARTS["vae"]
    renamed = {}
    for name in load_file(vae):
        for new, former in old.items():
            if f"attentions.0.{new}." in name:
                renamed[name] = name.replace(new, former)
    assert len(renamed) == 16
    before = load_bundle(folder)
    change(vae, dict(renamed))
    after = load_bundle(folder)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert (before.decode(latents) == after.decode(latents)).all()


def sharded(folder: Path) -> Path:
    """Split the UNet's weights into two files and return their index."""
    single = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(single)
    names = sorted(tensors)
    shards = {
        f"diffusion_pytorch_model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in (0, 1)
    }
    for shard, inside in shards.items():
        save_file({n: tensors[n] for n in inside}, single.with_name(shard), {"format": "pt"})
    single.unlink()
    index = single.with_name(single.name + ".index.json")
    where = {name: shard for shard, inside in shards.items() for name in inside}
    index.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    return index


def test_shards_are_read_and_stay_in_their_folder(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    whole = load_bundle(folder).encode_prompts(["a cat"])
    index = sharded(folder)
    assert len(load_bundle(folder).encode_prompts(["a cat"])) == len(whole)
    content = json.loads(index.read_text())
    name = next(iter(content["weight_map"]))
    for place in ("../vae/diffusion_pytorch_model.safetensors", "/etc/passwd", 7, None):
        wrong = content["weight_map"] | {name: place}
        index.write_text(json.dumps(content | {"weight_map": wrong}))
        with pytest.raises(BundleError, match=r"index\.json: .* is not the name of a file beside"):
            load_bundle(folder)
    gone = content["weight_map"] | {name: "gone.safetensors"}
    index.write_text(json.dumps(content | {"weight_map": gone}))
    with pytest.raises(BundleError, match=r"unet/gone\.safetensors is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("second", [2, 3, 4, 5])
def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path: Path, second: int) -> None:
    folder = tiny_bundle(tmp_path / "m")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    wanted = (length // 2**16 + 1) * 2**16 + second * 2**8 + 0x80
    padded = content[8 : 8 + length] + b" " * (wanted - length)
    path.write_bytes(wanted.to_bytes(8, "little") + padded + content[8 + length :])
    assert path.read_bytes()[:2] == bytes([0x80, second])
    assert load_bundle(folder).info.name == "tiny"


def test_raw_weights_of_an_export_are_no_pickle(tmp_path: Path) -> None:
    data = tmp_path / "onnx" / "fp32" / "unet.onnx_data"
    data.parent.mkdir(parents=True)
    data.write_bytes(b"\x80\x02" + bytes(100))
    check_files(tmp_path)
