"""Every broken model folder is refused in one line that names the file, soon and in little memory.

Loading is what ``python -m workers.check`` and a worker's start have in common; tests/workers runs
these themselves.
"""

import json
import resource
import shutil
from pathlib import Path
from time import monotonic

import pytest
from safetensors.torch import load_file, save_file

from diffusion.bundle.bundle import load_bundle
from diffusion.errors import BundleError
from tests.bundles import tiny_bundle
from tests.diffusion.bundle.bad_bundles import BadBundle, bad_bundles
from tests.layouts.parts import pieces_instead
from tests.layouts.transformers import pixart
from tests.layouts.unet_family import sd15

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


def variant_bundle(folder: Path) -> Path:
    """Write a bundle with two parts' weights as variants alone."""
    tiny_bundle(folder)
    for part, stem, word in (
        ("unet", "diffusion_pytorch_model", "bf16"), ("text_encoder", "model", "fp16"),
    ):  # fmt: skip
        path = folder / part / f"{stem}.safetensors"
        path.rename(path.with_name(f"{stem}.{word}.safetensors"))
    return folder


def sharded_bundle(folder: Path) -> Path:
    """Write a bundle whose UNet is in two shards, of the variant fp16."""
    path = tiny_bundle(folder) / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    path.unlink()
    where: dict[str, str] = {}
    for shard in (1, 2):
        name = f"diffusion_pytorch_model.fp16-0000{shard}-of-00002.safetensors"
        part = {n: t for i, (n, t) in enumerate(sorted(tensors.items())) if i % 2 == shard - 1}
        save_file(part, path.with_name(name), {"format": "pt"})
        where |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    path.with_name(f"{path.name}.index.fp16.json").write_text(json.dumps(index))
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
        "sharded": sharded_bundle(folder / "sharded"),
        "variant": variant_bundle(folder / "variant"),
    }


def backend_of(bad: BadBundle) -> str:
    return "onnx" if bad.base == "exported" else "torch"


def test_the_sound_ones_load(bases: dict[str, Path]) -> None:
    for base, folder in bases.items():
        assert load_bundle(folder, backend="onnx" if base == "exported" else "torch").info.sha256
    assert len({bad.name for bad in BAD}) == len(BAD) > 300


def cases(file: str, part: str) -> list[BadBundle]:
    """Return what breaks a file: every fourth way, all that take no time, or those that do."""
    found = [bad for bad in BAD if (bad.file, bad.long) == (file, part == "long")]
    return found[::4] if part == "some" else found


@pytest.mark.parametrize(
    "part", ["some", *(pytest.param(part, marks=pytest.mark.full) for part in ("all", "long"))]
)
@pytest.mark.parametrize("file", sorted({bad.file for bad in BAD}))
def test_it_is_refused_by_name(
    bases: dict[str, Path], tmp_path: Path, file: str, part: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = []
    for number, bad in enumerate(cases(file, part)):
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
