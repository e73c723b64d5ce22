"""Reading a model directory safely: safetensors and JSON only, nothing outside the folder."""

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from diffusion.tensor_file import has_header

PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".npy", ".npz"})
CODE = frozenset({".py", ".pyc", ".so"})
INDEX = "model_index.json"
SCHEDULER_CONFIG = "scheduler_config.json"
DESCRIPTION = "sfumato.json"  # what of the model is said otherwise; it affects no image
RECORD = "added.json"  # what installed it writes beside it
TINY_DECODER = "taesd"
"""A distilled decoder of the model's latents (diffusers' ``AutoencoderTiny``), for previews."""
PARTS = (
    "unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer",
    "tokenizer_2", "tokenizer_3", "vae", "scheduler",
)  # fmt: skip


UNREAD = frozenset({INDEX, DESCRIPTION, RECORD})  # no files of a network
BESIDE = frozenset({".json", ".safetensors"})  # files of a network beside the index


MAX_JSON_BYTES = 4 * 2**20
MAX_TOKENIZER_BYTES = 16 * 2**20  # of its words
MAX_TOKENIZER_CONFIG_BYTES = 2**18
MAX_FILES = 10_000


def check_files(folder: Path) -> None:
    """Refuse a folder that holds a pickle, code, or a link that leaves it.

    Raises:
        BundleError: it does; the message names the file.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder} is not a directory")
    root = folder.resolve()
    paths = list(islice(folder.rglob("*"), MAX_FILES + 1))
    if len(paths) > MAX_FILES:
        raise BundleError(f"{folder} holds more than {MAX_FILES} files: it is not a bundle")
    for path in sorted(paths):
        name = shown_name(path.relative_to(folder).as_posix())
        try:
            _check_file(path, name, root)
        except OSError as error:
            raise BundleError(f"{name}: {error.strerror}") from error


def _check_file(path: Path, name: str, root: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise BundleError(f"{name} is a link to nothing")
    if not path.resolve().is_relative_to(root) and not _in_blob_store(path, root):
        raise BundleError(f"{name} is a link that leaves the bundle")
    if path.is_dir():
        return
    if not path.is_file():
        raise BundleError(f"{name} is neither a file nor a folder")
    if path.suffix in PICKLES or _looks_pickled(path, name):
        raise BundleError(f"{name} may hold a pickle; only safetensors are loaded")
    if path.suffix in CODE:
        raise BundleError(f"{name} is code; a bundle holds weights and configuration only")


def shown_name(name: str) -> str:
    """Return a file's name as it can be printed on one line."""
    return repr(name)[1:-1] if not name.isprintable() else name


def _in_blob_store(path: Path, root: Path) -> bool:
    # In the hub's cache the files of snapshots/<revision>/ link into blobs/, two levels up.
    return root.parent.name == "snapshots" and path.resolve().parent == root.parents[1] / "blobs"


def _looks_pickled(path: Path, name: str) -> bool:
    """Return whether a file begins as a pickle does; what is read by its own format does not count.

    The length of a safetensors header, and the raw tensors beside an ONNX graph, may happen to.
    """
    if path.suffix == ".safetensors" and has_header(path):
        return False
    if name.startswith("onnx/"):
        return False
    with path.open("rb") as file:
        head = file.read(4)
    zipped = head == b"PK\x03\x04"  # torch.save since 1.6
    return zipped or (head[:1] == b"\x80" and len(head) > 1 and head[1] in (2, 3, 4, 5))


def read_json(path: Path, most_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Return the object in a JSON file of at most so many bytes.

    Raises:
        BundleError: the file is missing, too large, or holds no JSON object.
    """
    try:
        if (size := path.stat().st_size) > most_bytes:
            raise BundleError(
                f"{path.parent.name}/{path.name} is of {size} bytes, more than {most_bytes}"
            )
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path.parent.name}/{path.name} is missing") from None
    except RecursionError:
        raise BundleError(f"{path.parent.name}/{path.name} is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.parent.name}/{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path.parent.name}/{path.name} is not a JSON object")
    if "auto_map" in value:
        raise BundleError(f"{path.parent.name}/{path.name} asks for remote code (auto_map)")
    return value


def part_folder(folder: Path, part: str, config: str) -> Path:
    """Return where a part is: in its folder or, as in bundles of one network, beside the index.

    ``config`` is the name of its configuration.
    """
    alone = not (folder / part).is_dir() and (folder / config).is_file()
    return folder if alone else folder / part


def digest(folder: Path) -> str:
    """Return a sha256 over the names and bytes of every file that affects the images."""
    total = hashlib.sha256()
    alone = part_folder(folder, "unet", "config.json") == folder
    beside = sorted(p.name for p in folder.iterdir() if p.suffix in BESIDE) if alone else []
    for part in (INDEX, *PARTS, *(name for name in beside if name not in UNREAD)):
        for path in [folder / part, *sorted((folder / part).rglob("*"))]:
            if path.is_file():
                with path.open("rb") as file:
                    inner = hashlib.file_digest(file, "sha256").hexdigest()
                total.update(f"{path.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()
