"""Every broken single file is refused in one line that names it, soon and in little memory."""

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

import pytest
import torch

from diffusion.checkpoints.single_file import convert
from diffusion.errors import BundleError
from tests.diffusion.bundle.bad_bundles import FILE_HARMS, WEIGHT_HARMS, Harm
from tests.diffusion.checkpoints import original
from tests.diffusion.checkpoints.models import SD1, SD2, SDXL, TITLES, tiny
from tests.diffusion.checkpoints.original import Tensors

MOST_S, MOST_KIB = 30.0, 2**20  # 1 GiB more than before
PARTS = {
    SD1: ("model.diffusion_model.", "first_stage_model.decoder.", "cond_stage_model.transformer."),
    SD2: ("model.diffusion_model.", "first_stage_model.encoder.", "cond_stage_model.model."),
    SDXL: (
        "model.diffusion_model.", "first_stage_model.", "conditioner.embedders.0.transformer.",
        "conditioner.embedders.1.model.",
    ),
}  # fmt: skip
SOUND_ELSEWHERE = ("linked out", "a key more")  # of a file by itself, and ignored beside its parts
FILES: dict[str, Harm] = {n: do for n, do in FILE_HARMS.items() if n not in SOUND_ELSEWHERE}
BYTES: dict[str, Harm] = {
    n: do for n, do in WEIGHT_HARMS.items() if n not in SOUND_ELSEWHERE and "shape" not in n
}


@pytest.fixture(scope="module")
def sound() -> dict[str, Tensors]:
    return {title: tiny(title).tensors() for title in TITLES}


def refusal(file: Path, folder: Path) -> str:
    """Return how a file is refused; fail if it is not, or not as it should be."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = monotonic()
    with pytest.raises(BundleError) as refused:
        convert(file, folder)
    said = str(refused.value)
    assert file.name in said
    assert "\n" not in said
    assert len(said) < 700
    assert monotonic() - began < MOST_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KIB
    assert not (folder / "model_index.json").exists()
    return said


@pytest.mark.parametrize("harm", [*FILES, *BYTES])
def test_a_harm_to_its_bytes(sound: dict[str, Tensors], tmp_path: Path, harm: str) -> None:
    file = original.write(tmp_path / "m.safetensors", sound[SD1])
    (FILES | BYTES)[harm](file)
    refusal(file, tmp_path / "m")


def _less(tensors: Tensors, name: str) -> None:
    del tensors[name]


def _larger(tensors: Tensors, name: str) -> None:
    tensors[name] = torch.zeros(len(tensors[name]) + 1, *tensors[name].shape[1:])


def _flat(tensors: Tensors, name: str) -> None:
    tensors[name] = torch.zeros(tensors[name].numel() or 1)


def _of(dtype: torch.dtype, tensors: Tensors, name: str) -> None:
    tensors[name] = torch.zeros(tensors[name].shape).to(dtype)


def _more(tensors: Tensors, name: str) -> None:
    tensors[f"{name}.more"] = torch.zeros(2)


HARMS: dict[str, Callable[[Tensors, str], None]] = {
    "less": _less,
    "larger": _larger,
    "flat": _flat,
    "int8": partial(_of, torch.int8),
    "float8": partial(_of, torch.float8_e5m2),
    "more": _more,
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("title", TITLES)
def test_a_harm_to_a_tensor_of_each_part(
    sound: dict[str, Tensors], tmp_path: Path, title: str, harm: str
) -> None:
    for number, prefix in enumerate(PARTS[title]):
        own = sorted(n for n, t in sound[title].items() if n.startswith(prefix) and t.ndim > 1)
        used = [n for n in own if "position_ids" not in n and ".resblocks.23." not in n]
        for place in (0, len(used) - 1):
            tensors = dict(sound[title])
            HARMS[harm](tensors, used[place])
            file = original.write(tmp_path / f"{number}-{place}.safetensors", tensors)
            refusal(file, tmp_path / f"{number}-{place}")
            file.unlink()


@pytest.mark.parametrize("part", ["attn.in_proj_weight", "mlp.c_fc.weight"])
def test_a_tensor_as_large_as_its_file_is_not_copied(
    sound: dict[str, Tensors], tmp_path: Path, part: str
) -> None:
    name = f"conditioner.embedders.1.model.transformer.resblocks.0.{part}"
    large = torch.empty(2**20, 2**12, device="meta")
    file = tmp_path / "m.safetensors"
    original.write_holes(file, sound[SDXL] | {name: large}, torch.float16)
    assert file.stat().st_size > 2**33
    refusal(file, tmp_path / "m")


def test_an_unknown_tensor_beside_an_encoders_is_refused(
    sound: dict[str, Tensors], tmp_path: Path
) -> None:
    for title, prefix in ((SDXL, "conditioner.embedders.1.model."), (SD1, PARTS[SD1][2])):
        more = {f"{prefix}more": torch.zeros(2)}
        file = original.write(tmp_path / "m.safetensors", sound[title] | more)
        assert "1 weights are unexpected (more)" in refusal(file, tmp_path / "m")
