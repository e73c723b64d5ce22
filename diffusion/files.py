"""Reading a model directory safely: safetensors and JSON only, nothing outside the folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError

PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".npy", ".npz"})
CODE = frozenset({".py", ".pyc", ".so"})
PARTS = ("unet", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "vae", "scheduler")


def check_files(folder: Path) -> None:
    """Refuse a folder that holds a pickle, code, or a link that leaves it.

    Raises:
        BundleError: it does; the message names the file.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a directory")
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.resolve().is_relative_to(root) and not _in_blob_store(path, root):
            raise BundleError(f"{name} is a link that leaves the bundle")
        if not path.is_file():
            continue
        if path.suffix in PICKLES or _looks_pickled(path):
            raise BundleError(f"{name} may hold a pickle; only safetensors are loaded")
        if path.suffix in CODE:
            raise BundleError(f"{name} is code; a bundle holds weights and configuration only")


def _in_blob_store(path: Path, root: Path) -> bool:
    # In the hub's cache the files of snapshots/<revision>/ link into blobs/, two levels up.
    return root.parent.name == "snapshots" and path.resolve().parent == root.parents[1] / "blobs"


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(4)
    zipped = head == b"PK\x03\x04"  # torch.save since 1.6
    return zipped or (head[:1] == b"\x80" and len(head) > 1 and head[1] in (2, 3, 4, 5))


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        BundleError: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path.parent.name}/{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.parent.name}/{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path.parent.name}/{path.name} is not a JSON object")
    if "auto_map" in value:
        raise BundleError(f"{path.parent.name}/{path.name} asks for remote code (auto_map)")
    return value


def digest(folder: Path) -> str:
    """Return a sha256 over the names and bytes of every file that affects the images."""
    total = hashlib.sha256()
    for part in PARTS:
        for path in sorted((folder / part).rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    inner = hashlib.file_digest(file, "sha256").hexdigest()
                total.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()
