"""Every broken model folder is refused in one line that names the file, soon and in little memory.

Loading is what ``python -m workers.check`` and a worker's start have in common; tests/workers runs
these themselves.
"""

import resource
import shutil
from pathlib import Path
from time import monotonic

import pytest

from diffusion.bundle.bundle import load_bundle
from diffusion.errors import BundleError
from tests.bundles import tiny_bundle
from tests.diffusion.bundle.bad_bundles import BadBundle, bad_bundles
from tests.layouts import pieces_instead, pixart, sd15

MOST_S = 30.0  # far more than any takes, however busy the machine
MOST_KIB = 2**20  # more than before: 1 GiB
BAD = tuple(bad_bundles())


def clip_bundle(folder: Path) -> Path:
    """Write Stable Diffusion 1.5, tiny, with its tokenizer in the form of vocabulary and merges."""
    sd15(folder)
    words = folder.with_name(f"{folder.name}-tokenizer")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(words / name, folder / "tokenizer" / name)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, exported_tiny: Path) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {
        "tiny": tiny_bundle(folder / "tiny"),
        "clip": clip_bundle(folder / "clip"),
        "exported": exported_tiny,
        "pixart": pixart(folder / "pixart"),
        "pieces": pieces_instead(pixart(folder / "pieces")),
    }


def backend_of(bad: BadBundle) -> str:
    return "onnx" if bad.base == "exported" else "torch"


def test_the_sound_ones_load(bases: dict[str, Path]) -> None:
    for base, folder in bases.items():
        assert load_bundle(folder, backend="onnx" if base == "exported" else "torch").info.sha256
    assert len({bad.name for bad in BAD}) == len(BAD) > 300


@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("file", sorted({bad.file for bad in BAD}))
def test_it_is_refused_by_name(
    bases: dict[str, Path], tmp_path: Path, file: str, long: bool
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = []
    for number, bad in enumerate(b for b in BAD if (b.file, b.long) == (file, long)):
        folder = tmp_path / str(number)
        shutil.copytree(bases[bad.base], folder)
        bad.breaks(folder)
        began = monotonic()
        try:
            load_bundle(folder, backend=backend_of(bad))
        except BundleError as error:
            said = str(error)
            named = Path(file).name in said and "\n" not in said and len(said) < 700
            fault = "" if named else said
        except Exception as error:  # one that is not caught at a start is a fault, too
            fault = repr(error)
        else:
            fault = "loaded"
        if monotonic() - began > MOST_S:
            fault += " too late"
        if fault:
            wrong.append(f"{bad.name}: {fault}")
        shutil.rmtree(folder)
    assert wrong == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB
