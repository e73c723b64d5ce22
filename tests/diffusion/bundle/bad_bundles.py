"""Broken model folders: each harm is done to a copy of a sound one and names the file it is in."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from diffusion.backends.onnx.files import MANIFEST, file_sha256

Harm = Callable[[Path], None]
"""Does something to a file."""

NEEDED = (
    "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
    "text_encoder/model.safetensors", "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)  # fmt: skip
TOKENIZERS = {
    "tiny": ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"),
    "clip": ("tokenizer/vocab.json", "tokenizer/merges.txt"),
}
OTHERS = {
    "pixart": (
        "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/tokenizer.json",
    ),
    "pieces": ("tokenizer/spiece.model",),
}  # fmt: skip
"""Files of other families that are like none of a UNet's."""
EXPORT = tuple(
    f"onnx/fp32/{name}" for name in (MANIFEST, "unet.onnx", "text_encoder.onnx", "vae_decoder.onnx")
)


SHARDED = (
    "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    "unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
)
VARIANT = ("unet/diffusion_pytorch_model.bf16.safetensors", "text_encoder/model.fp16.safetensors")
SHARD_HARMS: dict[str, object] = {
    "no map": None,
    "an empty map": {},
    "a map of lists": {"conv_in.weight": []},
    "a shard elsewhere": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"},
    "an absolute shard": {"conv_in.weight": "/etc/passwd"},
}


@dataclass(frozen=True)
class BadBundle:
    """A way to break a bundle."""

    base: str  # the sound one: tiny, clip, exported, sharded, variant, or one of OTHERS
    file: str  # what the refusal has to name, below the bundle
    harm: str
    do: Harm

    @property
    def long(self) -> bool:
        """Whether it takes its time to make, and another file shows it as well."""
        return ("10^6" in self.harm or "200 MB" in self.harm) and not self.file.startswith("unet")

    @property
    def name(self) -> str:
        """A test's name."""
        return f"{self.base}-{self.file}-{self.harm}"

    def breaks(self, folder: Path) -> None:
        """Break a copy of the base."""
        self.do(folder / self.file)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _link(target: str, path: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def _out(path: Path) -> None:
    """Move a file out of its bundle and leave a link to it."""
    bundle = next(parent for parent in path.parents if (parent / "model_index.json").exists())
    outside = path.rename(bundle.with_name(f"{bundle.name}-outside"))
    path.symlink_to(outside)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILE_HARMS: dict[str, Harm] = {
    "missing": Path.unlink,
    "empty": partial(_write, b""),
    "half": _half,
    "garbled": partial(_write, b"\xff\xfe{]\0" * 50),
    "linked out": _out,
    "linked to nothing": partial(_link, "nowhere"),
    "linked to itself": lambda path: _link(path.name, path),
    "a pipe": _pipe,
    "a folder": _folder,
}


def _set(key: str, value: object, path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def _keys(count: int, path: Path) -> None:
    known = json.loads(path.read_text()) if path.suffix == ".json" else {}
    path.write_text(json.dumps(known | {f"k{n}": 0 for n in range(count)}))


JSON_HARMS: dict[str, Harm] = {
    "a list": partial(_write, b"[]"),
    "a number": partial(_write, b"3"),
    "null": partial(_write, b"null"),
    "nested": partial(_write, b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a long number": partial(_write, b'{"sample_size": ' + b"9" * 100_000 + b"}"),
    "10^5 keys": partial(_keys, 10**5),
    "10^6 keys": partial(_keys, 10**6),
}

TYPES: dict[str, tuple[str, ...]] = {
    "scheduler/scheduler_config.json": (
        "_class_name", "beta_schedule", "beta_start", "beta_end", "num_train_timesteps",
        "prediction_type", "trained_betas", "steps_offset",
    ),
    "unet/config.json": (
        "_class_name", "sample_size", "in_channels", "out_channels", "block_out_channels",
        "layers_per_block", "down_block_types", "up_block_types", "cross_attention_dim",
        "attention_head_dim", "norm_num_groups", "act_fn", "addition_embed_type",
        "transformer_layers_per_block", "time_cond_proj_dim",
    ),
    "transformer/config.json": (
        "_class_name", "norm_type", "sample_size", "in_channels", "out_channels", "patch_size",
        "num_attention_heads", "attention_head_dim", "cross_attention_dim", "caption_channels",
        "num_layers", "activation_fn",
    ),
    "vae/config.json": ("_class_name", "latent_channels"),
    "text_encoder/config.json": (
        "architectures", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
        "max_position_embeddings", "hidden_act", "intermediate_size",
    ),
    "sfumato.json": ("name", "title", "default_steps", "default_guidance_scale"),
}  # fmt: skip
WRONG = ({"a": 1}, True, -1, "\0" * 300)


def _tensors(change: Callable[[dict[str, torch.Tensor]], object], path: Path) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, t in sorted(tensors.items()) if t.ndim and len(t) > 2)


def _reshaped(tensors: dict[str, torch.Tensor]) -> None:
    name = _first(tensors)
    tensors[name] = torch.zeros(len(tensors[name]) + 1, *tensors[name].shape[1:])


def _retyped(dtype: torch.dtype, tensors: dict[str, torch.Tensor]) -> None:
    name = _first(tensors)
    tensors[name] = torch.zeros(tensors[name].shape).to(dtype)


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    tensors["renamed"] = tensors.pop(_first(tensors))


def _header(length: int, path: Path) -> None:
    """Write a header of blanks that is said to be, and is, so long; the file has no more bytes."""
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{")
        file.truncate(min(8 + length, 2**28))


def _described(header: dict[str, Any], data: bytes, path: Path) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _many_tensors(count: int, path: Path) -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    _described({f"t{n}": entry for n in range(count)}, b"", path)


HUGE = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
WEIGHT_HARMS: dict[str, Harm] = {
    "another shape": partial(_tensors, _reshaped),
    "int8": partial(_tensors, partial(_retyped, torch.int8)),
    "float8": partial(_tensors, partial(_retyped, torch.float8_e4m3fn)),
    "another key": partial(_tensors, _renamed),
    "a key more": partial(_tensors, lambda tensors: tensors.update(more=torch.zeros(1))),
    "a header of 2^63 bytes": partial(_header, 2**63),
    "a header of 200 MB": partial(_header, 200 * 10**6),
    "10^5 tensors": partial(_many_tensors, 10**5),
    "10^6 tensors": partial(_many_tensors, 10**6),
    "a tensor of 4 TiB": partial(_described, {"a": HUGE}, b""),
    "a header without shapes": partial(_described, {"a": 3}, b""),
}


def _manifest(change: Callable[[dict[str, Any]], object], path: Path) -> None:
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def _verified_half(path: Path) -> None:
    """Cut a graph short and say in the manifest that it was verified so."""
    _half(path)
    digest = file_sha256(path)
    _manifest(lambda m: m["files"].update({path.name: digest}), path.parent / MANIFEST)


def _verified_copy(of: str, path: Path) -> None:
    path.write_bytes((path.parent / of).read_bytes())
    digest = file_sha256(path)
    _manifest(lambda m: m["files"].update({path.name: digest}), path.parent / MANIFEST)


MANIFEST_HARMS: dict[str, Harm] = {
    "a path": partial(_manifest, lambda m: m["files"].update({"../../../secret": "0"})),
    "10^5 parts": partial(
        _manifest, lambda m: m["parts"].update({f"p{n}": {"file": "x"} for n in range(10**5)})
    ),
    "other weights": partial(_manifest, lambda m: m.update(model_sha256="0" * 64)),
}


def bad_bundles() -> Iterator[BadBundle]:
    """Yield every way to break a bundle."""
    for file in (*NEEDED, *TOKENIZERS["tiny"]):
        yield from _of_file("tiny", file)
    for file in TOKENIZERS["clip"]:
        yield from _of_file("clip", file)
    for base, files in OTHERS.items():
        for file in files:
            yield from _of_file(base, file)
    for file, keys in TYPES.items():
        yield from _of_values("pixart" if file.startswith("transformer") else "tiny", file, keys)
    yield BadBundle("tiny", "sfumato.json", "name a path", partial(_set, "name", "../../etc"))
    yield BadBundle("tiny", "sfumato.json", "name too long", partial(_set, "name", "n" * 65))
    for file in EXPORT:
        yield from _of_export(file)
    for harm, do in MANIFEST_HARMS.items():
        yield BadBundle("exported", EXPORT[0], harm, do)
    for file in (*SHARDED, *VARIANT):
        yield from _of_layout(file)
    another = partial(_verified_copy, "text_encoder.onnx")
    yield BadBundle("exported", "onnx/fp32/vae_decoder.onnx", "another graph", another)


def _of_file(base: str, file: str) -> Iterator[BadBundle]:
    harms = dict(FILE_HARMS)
    harms |= JSON_HARMS if file.endswith(".json") else {}
    harms |= WEIGHT_HARMS if file.endswith(".safetensors") else {}
    for harm, do in harms.items():
        yield BadBundle(base, file, harm, do)


def _of_layout(file: str) -> Iterator[BadBundle]:
    """Yield the ways that the plain layout does not show, or that are soon made."""
    base = "sharded" if file in SHARDED else "variant"
    for bad in _of_file(base, file):
        gone = bad.harm == "missing" and "-of-" not in file  # then another file is looked for
        if not gone and not re.search(r"10\^|MB", bad.harm):
            yield bad
    if file.endswith(".json"):
        for harm, shards in SHARD_HARMS.items():
            yield BadBundle(base, file, harm, partial(_set, "weight_map", shards))


def _of_values(base: str, file: str, keys: tuple[str, ...]) -> Iterator[BadBundle]:
    for key, value in product(keys, WRONG):
        if not (key == "title" and isinstance(value, str)):
            shown = re.sub(r"\W", "", str(value)[:8]) or "zeros"
            yield BadBundle(base, file, f"{key} {shown}", partial(_set, key, value))


def _of_export(file: str) -> Iterator[BadBundle]:
    for harm, do in FILE_HARMS.items():
        yield BadBundle("exported", file, harm, do)
    if file.endswith(".onnx"):
        yield BadBundle("exported", file, "cut and verified", _verified_half)
