"""The header of a safetensors file, read within bounds and checked against the file's size.

The file begins with the header's length (8 bytes, little-endian) and the header, a JSON object of
tensors by name; the tensors' bytes follow without a gap.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError

MAX_HEADER_BYTES = 16 * 2**20
MAX_TENSORS = 65_536
LFS_POINTER = b"version "
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """A tensor as its file's header describes it."""

    dtype: str  # a key of BITS
    shape: tuple[int, ...]
    file: str  # with its folder


def has_header(path: Path) -> bool:
    """Return whether a file begins as a safetensors file does."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    return len(head) == 9 and head[8:] == b"{" and 2 <= length <= path.stat().st_size - 8


def read_header(path: Path) -> dict[str, TensorEntry]:
    """Return a file's tensors by name.

    Raises:
        BundleError: it is not a sound safetensors file, or larger than any model's needs to be.
    """
    return read_file(path)[0]


def read_file(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """Return a file's tensors by name, and what its author wrote beside them.

    Raises:
        BundleError: as ``read_header``.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        header, at = _header(path)
        notes = header.pop("__metadata__", None) or {}
        if not isinstance(notes, dict):
            raise ValueError("its __metadata__ is no object")
        if len(header) > MAX_TENSORS:
            raise ValueError(f"{len(header)} tensors, more than {MAX_TENSORS}")
        return _entries((header, at), path.stat().st_size, name), notes
    except FileNotFoundError:
        raise BundleError(f"{name} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise BundleError(f"{name} is not a sound safetensors file: {error}") from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header and the number of bytes before the tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        if begin == LFS_POINTER:
            raise ValueError("a pointer of Git LFS, whose file was not fetched")
        length = int.from_bytes(begin, "little")
        if not 2 <= length <= size - 8:
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes, more than {MAX_HEADER_BYTES}")
        header: dict[str, Any] = json.loads(file.read(length))
    return header, 8 + length


def _entries(read: tuple[dict[str, Any], int], size: int, file: str) -> dict[str, TensorEntry]:
    header, at = read
    found, spans = {}, []
    for name, entry in header.items():
        shape = tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
            raise ValueError(f"the shape or place of {name[:80]!r} is not of whole numbers")
        if entry["dtype"] not in BITS:
            raise ValueError(f"{name[:80]!r} is of {entry['dtype']!r:.20}, which is unknown")
        if (end - begin) * 8 != prod(shape) * BITS[entry["dtype"]]:
            raise ValueError(f"{name[:80]!r} takes {end - begin} bytes, which its shape does not")
        found[name] = TensorEntry(entry["dtype"], shape, file)
        spans.append((begin, end))
    place = 0
    for begin, end in sorted(spans):
        if begin != place:
            raise ValueError(f"a gap or an overlap at byte {place} of the tensors")
        place = end
    if place != size - at:
        raise ValueError(f"{place} bytes of tensors are described, {size - at} are there")
    return found
