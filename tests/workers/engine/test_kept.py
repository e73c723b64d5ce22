"""Calibrations that are kept: used again while they hold, and never trusted."""

import json
import os
from pathlib import Path
from time import time

import pytest

from diffusion.bundle.bundle import Bundle
from workers import served
from workers.engine.calibrate import Calibration, batch_sizes
from workers.engine.kept import KEPT_S, facts, keep_calibration, kept_calibration
from workers.served import calibrated
from workers.settings import WorkerSettings

OF = {"model": "a", "device": "b", "most_rows": 40}
FOUND = Calibration(24, 512.5, (2, 8, 24))


def file_of(folder: Path) -> Path:
    (path,) = (folder / "calibrations").iterdir()
    return path


def test_a_calibration_is_found_by_what_it_depends_on(tmp_path: Path) -> None:
    assert kept_calibration(tmp_path, OF) is None
    keep_calibration(tmp_path, OF, FOUND)
    assert kept_calibration(tmp_path, OF) == FOUND
    assert all(kept_calibration(tmp_path, OF | {name: "other"}) is None for name in OF)
    keep_calibration(tmp_path, OF, Calibration(16, 500.0))
    assert kept_calibration(tmp_path, OF) == Calibration(16, 500.0)
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_one_of_a_week_ago_is_measured_again(tmp_path: Path) -> None:
    keep_calibration(tmp_path, OF, FOUND)
    old = time() - KEPT_S - 60
    os.utime(file_of(tmp_path), (old, old))
    assert kept_calibration(tmp_path, OF) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        "\udcff",
        '{"calibration": 1}',
        '{"calibration": {"rows_per_tick": 0, "rows_per_s": 5}}',
        '{"calibration": {"rows_per_tick": 41, "rows_per_s": 5}}',
        '{"calibration": {"rows_per_tick": 16, "rows_per_s": NaN}}',
        '{"calibration": {"rows_per_tick": 16, "rows_per_s": -1}}',
        '{"calibration": {"rows_per_tick": 16, "rows_per_s": 5, "batch_sizes": [8, 4, 16]}}',
        '{"calibration": {"rows_per_tick": 16, "rows_per_s": 5, "batch_sizes": [4, 8]}}',
        '{"calibration": {"rows_per_tick": "many", "rows_per_s": 5}}',
    ],
)
def test_a_broken_one_is_measured_again(tmp_path: Path, text: str) -> None:
    keep_calibration(tmp_path, OF, FOUND)
    file_of(tmp_path).write_bytes(text.encode(errors="surrogateescape"))
    assert kept_calibration(tmp_path, OF) is None


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    keep_calibration(folder, OF, FOUND)
    assert kept_calibration(folder, OF) is None


def test_a_worker_measures_once(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(cache=tmp_path, slots=2)
    measured: list[int] = []

    def calibrate(_: Bundle, most: int) -> Calibration:
        measured.append(most)
        return Calibration(most, 100.0)

    monkeypatch.setattr(served, "calibrate", calibrate)
    monkeypatch.setattr(served, "waited_s", lambda: 0.0)
    assert [calibrated(bundle, settings) for _ in range(3)] == [Calibration(4, 100.0)] * 3
    assert measured == [4]
    assert calibrated(bundle, settings.model_copy(update={"slots": 3})).rows_per_tick == 6
    assert calibrated(bundle, settings.model_copy(update={"cache": None})).rows_per_tick == 4
    assert measured == [4, 6, 4]
    written = json.loads(next((tmp_path / "calibrations").iterdir()).read_text())
    assert written["of"]["model"] == facts(bundle, 4)["model"] == bundle.info.sha256


def test_one_that_others_disturbed_is_not_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = iter([1.0, 61.0])  # far more than the calibration takes
    monkeypatch.setattr(served, "calibrate", lambda *_: Calibration(16, 269.0))
    monkeypatch.setattr(served, "waited_s", lambda: next(waited))
    assert calibrated(bundle, WorkerSettings(cache=tmp_path)).rows_per_tick == 16
    assert not list(tmp_path.iterdir())


def test_one_that_did_not_fit_in_memory_is_not_kept(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "calibrate", lambda *_: Calibration(2, 0.0))
    calibrated(bundle, WorkerSettings(cache=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tick_s", "row_s", "sizes"),
    [
        (1.0, 0.0, (16,)),  # a row costs nothing
        (0.0, 1.0, (*range(1, 11), 12, 14, 16)),  # nothing else does
        (0.02, 0.001, (3, 6, 9, 12, 16)),
    ],
)
def test_batches_are_padded_where_it_costs_little(
    tick_s: float, row_s: float, sizes: tuple[int, ...]
) -> None:
    found = batch_sizes(tick_s, row_s, 16)
    assert found == sizes
    for rows in range(1, 17):
        size = min(each for each in found if each >= rows)
        assert tick_s + row_s * size <= 1.1 * (tick_s + row_s * rows) + 1e-9
