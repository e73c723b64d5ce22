"""Copies a model's files into its staging folder."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json, shown_name
from workers.models.sources.download import check_space


def copy_files(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copy files of a folder; what a link leads to is copied in its place.

    Raises:
        DiskFull: they would not fit.
    """
    files = list(files)
    target.mkdir(parents=True, exist_ok=True)
    needed = sum((source / name).stat().st_size for name in files)
    check_space(target, needed, str(source))
    for name in files:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)
        with path.open("rb") as copied:
            os.fsync(copied.fileno())


def listed(folder: Path) -> list[str]:
    """Return a folder's files, without those of git and of the hub's cache.

    Raises:
        BundleError: one of them is a link that leaves the folder, or no file at all.
    """
    root = folder.resolve()
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith((".git/", ".cache/")) or path.is_dir():
            continue
        _check_inside(path, name, root)
        found.append(name)
    return found


def _check_inside(path: Path, name: str, root: Path) -> None:
    if not path.is_file():
        raise BundleError(
            f"{shown_name(name)} is neither a file nor a folder, or a link to nothing"
        )
    real = path.resolve()
    blobs = root.parents[1] / "blobs" if root.parent.name == "snapshots" else None
    if not real.is_relative_to(root) and real.parent != blobs:
        raise BundleError(f"{shown_name(name)} is a link that leaves the folder")


def replace_vae(folder: Path, vae: Path) -> None:
    """Give a model another VAE: a folder of one, a model's folder, or a safetensors file.

    Raises:
        BundleError: it is none, or another family's.
    """
    former = folder / "vae" / "config.json"
    was = read_json(former) if former.is_file() else {}
    shutil.rmtree(folder / "vae", ignore_errors=True)
    if vae.is_file():
        _convert_vae(folder, vae)
    else:
        _copy_vae(folder, vae)
    config = read_json(folder / "vae" / "config.json")
    for key in ("scaling_factor", "latent_channels"):
        if key in was and config.get(key) != was[key]:
            raise BundleError(
                f"--vae: {vae} has {key} {config.get(key)}, the model's own {was[key]}: "
                "it is another family's"
            )
    _name_vae(folder / INDEX, str(config.get("_class_name")))


def _copy_vae(folder: Path, vae: Path) -> None:
    inside = vae / "vae" if (vae / "vae").is_dir() else vae
    if not (inside / "config.json").is_file():
        raise BundleError(f"--vae: {vae} holds no VAE (no config.json)")
    kept = [n for n in listed(inside) if n.endswith((".safetensors", ".json")) and "/" not in n]
    copy_files(inside, folder / "vae", kept)


def _convert_vae(folder: Path, vae: Path) -> None:
    from safetensors.torch import save_file

    from diffusion.checkpoints.families import SD15, SDXL
    from diffusion.checkpoints.vae import given_vae

    family = SDXL if (folder / "text_encoder_2").is_dir() else SD15
    found = given_vae(vae, family, family.side)
    (folder / "vae").mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in found.tensors.items()}
    save_file(tensors, folder / "vae" / found.file, metadata={"format": "pt"})
    (folder / "vae" / "config.json").write_text(json.dumps(dict(found.config), indent=2) + "\n")


def _name_vae(path: Path, kind: str) -> None:
    """Let the index name a VAE where it said that there is none."""
    index = read_json(path)
    if index.get("vae", True) in (None, [None, None]):
        rewrite(path, index | {"vae": ["diffusers", kind]})


def rewrite(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file anew: another name of the same file keeps what it had."""
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(dict(value), indent=2) + "\n")
