"""Pictures that a model's safety checker flags are blurred, or their job is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusion.bundle.bundle import Bundle
from diffusion.parts.safety import load_safety_checker
from tests.bundles import tiny_bundle
from tests.diffusion.parts.checkers import ALL, NONE, write_checker
from tests.workers.harness import Bench, image_request
from tests.workers.inside import Inside
from workers.check import main
from workers.engine.messages import Finished, Previewed
from workers.runtime.image_file import encode

FIELDS = {"num_inference_steps": 3, "num_images": 2, "preview": 1}


def strict(folder: Path) -> Path:
    return write_checker(folder / "model", ALL)


def lenient(folder: Path) -> Path:
    return write_checker(folder / "model", NONE)


async def roughness(inside: Inside, job_id: str) -> float:
    """Return how much neighbouring pixels of a job's last picture differ, on average."""
    stored = await inside.store.image(job_id, 1)
    pixels = np.asarray(Image.open(io.BytesIO(stored.data))).astype(float)
    return float(np.abs(np.diff(pixels, axis=1)).mean())


@pytest.mark.parametrize("inside", [{"safety": "blur", "model": strict}], indirect=True)
async def test_flagged_pictures_are_blurred_and_the_job_says_so(inside: Inside) -> None:
    await inside.submit("job", **FIELDS)
    record = await inside.ended("job")
    assert record.status == "succeeded"
    assert [each.code for each in record.warnings] == ["content_blurred"]
    assert await inside.store.latest_preview("job") is None
    assert await roughness(inside, "job") < 5


@pytest.mark.parametrize("inside", [{"safety": "refuse", "model": strict}], indirect=True)
async def test_a_job_whose_picture_is_flagged_is_refused(inside: Inside) -> None:
    for number in range(6):  # more than the failures in a row that end a worker
        await inside.submit(f"job{number}", **FIELDS)
        record = await inside.ended(f"job{number}")
        assert record.status == "failed"
        assert record.error is not None
        assert record.error.code == "content_filtered"
        assert "safety checker flagged picture" in record.error.detail


@pytest.mark.parametrize("inside", [{"safety": "refuse", "model": lenient}], indirect=True)
async def test_other_pictures_pass(inside: Inside) -> None:
    await inside.submit("job", **FIELDS)
    record = await inside.ended("job")
    assert record.status == "succeeded"
    assert record.warnings == ()
    assert await roughness(inside, "job") > 15


def test_previews_are_checked_too(bundle: Bundle, tmp_path: Path) -> None:
    for name, threshold in (("strict", ALL), ("lenient", NONE)):
        folder = tmp_path / name
        checker = load_safety_checker(write_checker(folder, threshold), bundle.device)
        bench = Bench(bundle, safety=checker)
        bench.draw(image_request(preview=1))
        assert [each.flagged for each in bench.of(Finished)] == [threshold == ALL]
        assert bool(bench.of(Previewed)) == (threshold == NONE)


def test_a_blurred_picture_keeps_its_colours_and_no_detail() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = np.repeat(checks[..., None], 3, -1).astype(np.uint8)
    values = {"prompt": "checks", "negative_prompt": "", "num_inference_steps": 1, "seed": 1,
              "sampler": "euler", "schedule": "karras", "guidance_scale": 1.0, "width": 64,
              "height": 64, "model_sha256": "0" * 64, "model": "m", "eta": None,
              "guidance_rescale": 0.0}  # fmt: skip
    shown = np.asarray(Image.open(io.BytesIO(encode(pixels, "png", values, blur=True))))
    assert shown.std() < 2
    assert abs(shown.mean() - pixels.mean()) < 2


def test_a_model_without_a_checker_is_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFUMATO_MODEL", str(tiny_bundle(tmp_path / "m")))
    monkeypatch.setenv("SFUMATO_SAFETY", "blur")
    assert main([]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert "the model has no safety_checker, which SFUMATO_SAFETY needs" in line
