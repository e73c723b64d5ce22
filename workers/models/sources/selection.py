"""Which files of a repository or folder make the model: safetensors and configuration, one variant.

Repositories hold the same weights many times over: in several precisions, as pickles, for Flax,
ONNX and OpenVINO, and once more as single files.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from diffusion.errors import BundleError
from diffusion.files import INDEX, PARTS, TINY_DECODER

VARIANTS = ("", "fp16", "bf16")
"""Which weights are taken: the first of these that a part has, as the loader takes them."""
OPTIONAL = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
WEIGHTLESS = ("Tokenizer", "Scheduler", "Processor", "Extractor", "TokenizerFast")
ALONE = {
    "unet": r"config\.json|diffusion_pytorch_model.*",
    "scheduler": r"scheduler_config\.json",
}  # fmt: skip
"""Files of parts that lie beside the index where they have no folder."""
STEMS = ("diffusion_pytorch_model", "model")  # diffusers' and transformers'
PICKLED = (".bin", ".ckpt", ".pt", ".pth")
CONFIGURATION = (".json", ".txt", ".model", ".jinja")
LICENCE = re.compile(r"(?i)(.*licen[cs]e.*|copying.*|notice.*)")
EXPORT = re.compile(r"onnx/[a-z0-9]+/")
WEIGHT_FILE = re.compile(
    r"(?P<stem>[a-z_]+)(?:\.(?P<early>[a-z]\w*))??(?P<shard>-\d{5}-of-\d{5})?(?:\.(?P<late>[a-z]\w*))?"
    r"\.safetensors(?P<index>\.index(?:\.(?P<of>\w+))?\.json)?"
)


@dataclass(frozen=True)
class Selection:
    """The files that make a model."""

    files: tuple[str, ...]
    missing: tuple[str, ...]  # parts, in words
    notes: tuple[str, ...]  # what was chosen and what was left out, in words


@dataclass(frozen=True)
class _Weights:
    file: str
    variant: str
    sharded: bool


def licences(files: Iterable[str]) -> list[str]:
    """Return the files that state a licence."""
    return sorted(file for file in files if "/" not in file and LICENCE.fullmatch(file))


def parts_of(index: Mapping[str, Any], files: Iterable[str]) -> dict[str, str]:
    """Return the model's parts and their classes, of which an old index names none."""
    named = {
        key: str(value[1])
        for key, value in index.items()
        if isinstance(value, list) and len(value) == 2 and value != [None, None]
    }
    folders = {file.partition("/")[0] for file in files if "/" in file}
    parts = named or {part: "" for part in PARTS if part in folders}
    return parts | dict.fromkeys(folders & {TINY_DECODER}, "AutoencoderTiny")


def select(files: Iterable[str], index: Mapping[str, Any], variant: str | None) -> Selection:
    """Return which of a folder's files make the model that its ``index`` describes.

    ``variant`` names the weights to take where a part has them.

    Raises:
        BundleError: a part's weights are there, but not as safetensors.
    """
    files = sorted(files)
    chosen = [f for f in files if f in (INDEX, "sfumato.json", "README.md")] + licences(files)
    chosen += _exports(files)
    missing, notes, variants = [], [], set[str]()
    for part, kind in parts_of(index, files).items():
        place = f"{part}/"
        inside = [f.removeprefix(place) for f in files if f.startswith(place)]
        inside = [name for name in inside if "/" not in name]
        if not inside and part in ALONE:  # a model of one network may have it beside its index
            place, inside = "", [f for f in files if re.fullmatch(ALONE[part], f)]
        taken, found = _weights(inside, variant)
        variants |= {found} if found else set()
        lacks = not inside or (not taken and _has_weights(part, kind))
        if lacks and part in OPTIONAL:
            notes.append(f"{part} left out: no safetensors")
            continue
        if lacks:
            _refuse_other_formats(part, inside)
            missing.append(f"{part} ({kind})" if kind else part)
        plain = [n for n in inside if n.endswith(CONFIGURATION) and ".safetensors." not in n]
        chosen += [f"{place}{name}" for name in (*plain, *taken)]
    left = len([f for f in set(files) - set(chosen) if f.endswith((".safetensors", *PICKLED))])
    notes += [f"{', '.join(sorted(variants))} weights"] if variants else []
    notes += [f"{left} other weight files left out"] if left else []
    if variant and variant not in variants:
        raise BundleError(f"no part has weights of the variant {variant}")
    return Selection(tuple(dict.fromkeys(chosen)), tuple(missing), tuple(notes))


def _has_weights(part: str, kind: str) -> bool:
    if kind:
        return not kind.endswith(WEIGHTLESS)
    return part.startswith(("unet", "text_encoder", "vae", "transformer"))


def _exports(files: Iterable[str]) -> list[str]:
    """Return the files of our own ONNX exports, which have a manifest."""
    found = [file for file in files if EXPORT.match(file)]
    ours = {f.rpartition("/")[0] for f in found if f.endswith("/manifest.json")}
    return [f for f in found if f.rpartition("/")[0] in ours]


def _weights(names: Iterable[str], wanted: str | None) -> tuple[list[str], str]:
    """Return a part's weight files of one variant, with their index, and the variant."""
    read = [each for name in names if (each := _weight_file(name)) is not None]
    others = sorted({each.variant for each in read} - set(VARIANTS))
    for variant in ([wanted] if wanted else []) + [*VARIANTS, *others]:
        of_it = [each for each in read if each.variant == variant]
        single = [each.file for each in of_it if not each.sharded]
        if of_it:
            return single or [each.file for each in of_it], variant
    return [], ""


def _weight_file(name: str) -> _Weights | None:
    match = WEIGHT_FILE.fullmatch(name)
    if match is None or match["stem"] not in STEMS:
        return None
    variant = match["early"] or match["late"] or match["of"] or ""
    return _Weights(name, variant, bool(match["shard"] or match["index"]))


def _refuse_other_formats(part: str, names: Iterable[str]) -> None:
    for name in names:
        suffix = PurePosixPath(name).suffix
        if suffix in PICKLED:
            raise BundleError(
                f"{part} has its weights in {name}, a pickle, alone; only safetensors are added"
            )
        if suffix in (".gguf", ".msgpack", ".onnx"):
            kind = {".gguf": "GGUF", ".msgpack": "Flax", ".onnx": "ONNX"}[suffix]
            raise BundleError(
                f"{part} has its weights in {name} ({kind}) alone; only safetensors are added"
            )
