"""The names of pictures: what made them, possible everywhere, and never one that exists."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as run_settings
from hypothesis import strategies as st

from service.cli.drawing import Drawing, draw
from service.cli.shared.picture_files import NotSaved, create, picture_name, save, slug
from service.cli.shared.terminal import console
from tests.service.cli.scripted_door import job, picture, scripted


def name(**fields: Any) -> str:
    made = job(**fields)
    return picture_name(made, made.images[-1])


def test_names_tell_pictures_apart() -> None:
    different: list[dict[str, Any]] = [
        {}, {"prompt": "a pear"}, {"seed": 8}, {"sampler": "heun"}, {"num_inference_steps": 11},
        {"num_images": 2}, {"num_images": 3},
    ]  # fmt: skip
    assert len({name(**fields) for fields in different}) == len(different)
    assert name(prompt="A Red apple!") == "a-red-apple-7-euler-10-toy"


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    made = job(prompt="a", guidance_scale=3.0)
    first = save(tmp_path, made, made.images[0], b"first")
    second = save(tmp_path, job(prompt="a"), made.images[0], b"second")
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")
    assert second.name == f"{first.stem}-2.png"
    (tmp_path / f"{first.stem}-3.png").symlink_to("elsewhere")
    (tmp_path / f"{first.stem}-4.png").mkdir()
    assert create(first, b"x").name == f"{first.stem}-5.png"
    assert not (tmp_path / "elsewhere").exists()


def test_side_by_side_each_gets_a_file_of_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda n: create(tmp_path / "a.png", b"%d" % n), range(64)))
    assert len(set(made)) == 64
    assert {path.read_bytes() for path in made} == {b"%d" % n for n in range(64)}


def test_the_same_drawing_twice_makes_two_files_and_two_strips(tmp_path: Path) -> None:
    for _ in range(2):
        with scripted(job(num_images=2)) as client:
            (drawing,) = draw(client, [{"prompt": "x"}], tmp_path, console())
        drawing.previews = [picture()]
        drawing.filmstrip(drawing.files[0].with_suffix(".steps.png"))
    assert len(list(tmp_path.iterdir())) == 6


def test_a_disk_that_is_full_leaves_no_half_file_and_says_where_the_picture_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job()
    with pytest.raises(NotSaved) as failed:
        save(tmp_path / "missing", made, made.images[0], b"x")
    assert "missing" in str(failed.value)
    assert made.images[0].url in str(failed.value)
    full = open("/dev/full", "wb")  # noqa: SIM115
    monkeypatch.setattr(Path, "open", lambda self, mode: full)
    unlinked: list[Path] = []
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok: unlinked.append(self))
    with pytest.raises(OSError, match="space"):
        create(tmp_path / "a.png", b"x" * 100_000)
    assert unlinked == [tmp_path / "a.png"]


@run_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=400), st.integers(0, 2**63 - 1))
def test_any_prompt_is_a_possible_name(prompt: str, seed: int) -> None:
    made = slug(prompt, 60)
    assert 0 < len(os.fsencode(made)) <= 60
    assert made[0] not in ".-_~"
    assert not set(made) & set('/\\\0:*?"<>|\n\r ')


@pytest.mark.parametrize(
    "prompt", ["../../etc/passwd", ".", "..", "/", "\x00", "\ud800", "-rf", "~"]
)
def test_no_prompt_leaves_the_folder(prompt: str, tmp_path: Path) -> None:
    assert slug(prompt, 60) in ("etc-passwd", "picture", "rf")


def test_names_of_the_service_are_cut_and_cleaned_too() -> None:
    made = job(prompt="章" * 300)
    evil = made.request.model_copy(
        update={"sampler": "../" + "x" * 300, "model": "m/../" + "é" * 300}
    )
    changed = made.model_copy(update={"request": evil})
    long = picture_name(changed, made.images[0])
    assert "/" not in long
    assert len(os.fsencode(f"{long}-1000000.steps.png")) <= 255


def test_a_file_system_without_the_characters_gets_plain_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    assert slug("章鱼 red é", 60) == "red"
    assert slug("章鱼", 60) == "picture"
    assert slug("café", 60) == "café"


def test_a_drawing_has_a_label() -> None:
    with scripted(job()) as client:
        assert Drawing(client, job()).label == "a red apple, euler, 10 steps"
