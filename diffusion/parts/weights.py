"""A part's weights, compared by name and shape with the network before anything is loaded."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.tensor_file import TensorEntry, read_header

NAMED = 3  # names in a message
VARIANTS = ("", "fp16", "bf16")
"""The words in names of weights by which some are taken before others."""
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
HARMLESS = re.compile(
    # A constant of older versions; the other half of CLIP, and how the two were compared.
    # And the averages that training kept beside the weights.
    r"(.*\.)?position_ids|logit_scale|(text|visual)_projection\.weight|vision_model\..*"
    # What stood for a caption in training where PixArt-α was given none.
    r"|caption_projection\.y_embedding"
    # What makes words of the states of a language model.
    r"|lm_head\.weight"
    r"|model_ema\..*"
)
LEGACY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention over pixels until 2022, which diffusers still translates."""


@dataclass(frozen=True)
class WeightFiles:
    """The files that hold a part's weights."""

    paths: tuple[Path, ...]  # several if they are in shards
    variant: str | None  # the word in their names, like "fp16"; None: they have none
    others: tuple[str, ...]  # the variants that lie beside it, "" for the one without a word


def weight_files(folder: Path, stem: str) -> WeightFiles:
    """Return the files that a part's weights are read from; ``stem`` is the library's.

    Of several variants the one without a word is taken, else fp16, else bf16, else the first.

    Raises:
        BundleError: there are none, or it is not clear which.
    """
    word = r"(?:\.(\w+))?"
    singles = _by_variant(folder, rf"{stem}{word}\.safetensors")
    indices = _by_variant(folder, rf"{stem}\.safetensors\.index{word}\.json")
    found = singles.keys() | indices.keys()
    if not found:
        if shards := sorted(path.name for path in folder.glob(f"{stem}*-of-*.safetensors")):
            raise BundleError(f"{folder.name}/{shards[0]} is a shard whose index is missing")
        raise BundleError(f"{folder.name}/{stem}.safetensors is missing")
    chosen = min(found, key=lambda each: (VARIANTS.index(each) if each in VARIANTS else 9, each))
    single, index_file = singles.get(chosen), indices.get(chosen)
    if single is not None and index_file is not None:
        raise BundleError(f"{folder.name} holds both {single.name} and {index_file.name}")
    paths = _shards(index_file) if index_file is not None else [singles[chosen]]
    return WeightFiles(tuple(paths), chosen or None, tuple(sorted(found - {chosen})))


def _by_variant(folder: Path, pattern: str) -> dict[str, Path]:
    """Return a folder's files of a pattern by the word that it captures."""
    names = ((re.fullmatch(pattern, path.name), path) for path in folder.glob("*.*"))
    return {match[1] or "": path for match, path in names if match}


def read_weights(folder: Path, stem: str) -> dict[str, TensorEntry]:
    """Return the tensors that a part's loader would read, by name; ``stem`` is the library's.

    Raises:
        BundleError: there are none, or a file is missing or broken.
    """
    found: dict[str, TensorEntry] = {}
    for path in weight_files(folder, stem).paths:
        found |= read_header(path)
    return found


def _shards(index: Path) -> list[Path]:
    name = f"{index.parent.name}/{index.name}"
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise BundleError(f"{name}: weight_map names no files")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise BundleError(f"{name}: {str(shard)[:80]!r} is not the name of a file beside it")
    return [index.parent / shard for shard in sorted(set(shards.values()))]


def stored_dtype(weights: Mapping[str, TensorEntry]) -> torch.dtype:
    """Return the dtype that weights are stored in."""
    stored = (FLOATS[entry.dtype] for entry in weights.values() if entry.dtype in FLOATS)
    return next(stored, torch.float32)


def check_weights(weights: Mapping[str, TensorEntry], network: Mapping[str, Tensor]) -> None:
    """Compare the weights with a network's state, which may be on the device "meta".

    Raises:
        BundleError: a tensor is missing, unknown, of another shape or not of floats.
    """
    given = {_plain(name): entry for name, entry in weights.items()}
    wanted = {_plain(name): tensor for name, tensor in network.items()}
    file = next(iter(weights.values())).file if weights else "the weights"
    missing = [name for name in wanted if name not in given]
    unexpected = [n for n in given if n not in wanted and not HARMLESS.fullmatch(n)]
    if missing or unexpected:
        raise BundleError(f"{file}: {difference(missing, unexpected)}")
    for name, tensor in wanted.items():
        entry = given[name]
        if entry.shape != tuple(tensor.shape):
            raise BundleError(
                f"{entry.file}: {name} is {list(entry.shape)}, "
                f"and {list(tensor.shape)} by its configuration"
            )
        if tensor.is_floating_point() and entry.dtype not in FLOATS:
            raise BundleError(f"{entry.file}: {name} is of {entry.dtype}, which is not served")


def difference(missing: Collection[str], unexpected: Collection[str]) -> str:
    """Return how many names are missing and unexpected, and the first of them."""
    both = (("missing", missing), ("unexpected", unexpected))
    found = [f"{len(names)} weights are {what} ({_first(names)})" for what, names in both if names]
    return " and ".join(found)


def _first(names: Collection[str]) -> str:
    shown = [repr(name[:120])[1:-1] for name in list(names)[:NAMED]]
    return ", ".join(shown) + (", …" if len(names) > NAMED else "")


def _plain(name: str) -> str:
    """Return a name without what libraries have changed in it over the years."""
    name = name.removeprefix("text_model.")
    return re.sub(
        r"(attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)$",
        lambda found: f"{found[1]}.{LEGACY[found[2]]}.{found[3]}",
        name,
    )


def check_loaded(folder: Path, info: Mapping[str, Any]) -> None:
    """Check a loader's own account of what it did not find in the weights, or not in the network.

    Raises:
        BundleError: the network keeps random weights, or some weights were left out.
    """
    missing = [str(key) for key in info.get("missing_keys") or ()]
    unexpected = [str(key) for key in info.get("unexpected_keys") or ()]
    strange = [key for key in unexpected if not HARMLESS.fullmatch(_plain(key))]
    if missing or strange:
        raise BundleError(f"{folder.name}: {difference(missing, strange)}")
    for key in ("mismatched_keys", "error_msgs"):
        if found := list(info.get(key) or ()):
            raise BundleError(f"{folder.name}: {str(found[0])[:200]}")
