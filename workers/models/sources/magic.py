"""What a file is by its first bytes."""

import tarfile
from pathlib import Path

from diffusion.errors import BundleError
from diffusion.tensor_file import has_header
from jobs.telemetry.text import shown

HEAD_BYTES = 16
PICKLE_PROTOCOLS = (2, 3, 4, 5)


def refuse_by_content(head: bytes, said: str) -> None:
    """Refuse a file that begins as one that is never loaded does.

    Raises:
        BundleError: it does; the message names the format.
    """
    if (kind := _kind(head)) is not None:
        raise BundleError(f"{shown(said)} is {kind}; only safetensors files are added")


def _kind(head: bytes) -> str | None:
    if head.startswith(b"GGUF"):
        return "GGUF"
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive, as pickled checkpoints are"
    if head[:1] == b"\x80" and head[1:2] and head[1] in PICKLE_PROTOCOLS and head[8:9] != b"{":
        return "a pickle"
    if head.lstrip()[:1] == b"<":
        return "a web page"
    return None


def is_weights(path: Path, said: str) -> bool:
    """Return whether a file is of safetensors; otherwise it is a tar archive.

    Raises:
        BundleError: it is neither.
    """
    with path.open("rb") as file:
        refuse_by_content(file.read(HEAD_BYTES), said)
    if has_header(path):
        return True
    if tarfile.is_tarfile(path):
        return False
    raise BundleError(f"{shown(said)} is neither a safetensors file nor a tar archive")
