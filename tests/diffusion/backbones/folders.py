"""Model folders with something wrong in them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from tests.diffusion.bundle.bad_bundles import FILE_HARMS, JSON_HARMS, WEIGHT_HARMS

# tests/diffusion/bundle shows the others, which take their time, on the code that is the same.
LIKE_OTHERS = "10^5", "10^6", "200 MB", "nested", "a number", "null", "a long number"


def changed(path: Path, values: dict[str, Any]) -> None:
    """Set keys of a configuration."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def wrong_refusals(
    folder: Path, files: tuple[str, ...], load: Callable[[Path], object]
) -> Iterator[str]:
    """Break each file in each way, and yield where no one line says so and names the file."""
    for file in files:
        path = folder / file
        content = path.read_bytes()
        harms = FILE_HARMS | (JSON_HARMS if path.suffix == ".json" else WEIGHT_HARMS)
        for harm, do in harms.items():
            if any(other in harm for other in LIKE_OTHERS):
                continue
            do(path)
            try:
                load(folder)
            except BundleError as error:
                said = str(error)
                if path.name not in said or "\n" in said or len(said) > 700:
                    yield f"{file}, {harm}: {said}"
            else:
                yield f"{file}, {harm}: loaded"
            finally:
                _restore(path, content)


def _restore(path: Path, content: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
