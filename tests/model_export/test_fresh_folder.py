"""A folder is written completely or not at all, and replaces only what it may."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from model_export.errors import OutputError
from model_export.fresh_folder import fresh_folder

HOLD = """
import sys, time
from pathlib import Path
from model_export.fresh_folder import fresh_folder
with fresh_folder(Path(sys.argv[1])) as fresh:
    (fresh / "half").touch()
    print("held", flush=True)
    time.sleep(60)
"""


def written(folder: Path) -> Path:
    with fresh_folder(folder) as fresh:
        (fresh / "new").touch()
    return folder


def test_new_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "old").touch()
    assert os.listdir(written(folder)) == ["new"]
    assert os.listdir(tmp_path) == ["made"]


def test_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    folder = written(tmp_path / "made")
    with pytest.raises(NotADirectoryError), fresh_folder(folder) as fresh:
        written(fresh / "half").joinpath("new", "below").touch()
    assert os.listdir(folder) == ["new"]
    with pytest.raises(NotADirectoryError), fresh_folder(tmp_path / "deep" / "made") as fresh:
        written(fresh / "half").joinpath("new", "below").touch()
    assert os.listdir(tmp_path) == ["made"]


def test_anything_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    for place in (tmp_path, tmp_path / "letter.txt"):
        with (
            pytest.raises(OutputError, match="holds something else"),
            fresh_folder(place, lambda folder: (folder / "new").exists()),
        ):
            pass
    assert os.listdir(tmp_path) == ["letter.txt"]
    (tmp_path / "empty").mkdir()
    with fresh_folder(tmp_path / "empty", lambda _: False) as fresh:
        (fresh / "new").touch()
    assert os.listdir(tmp_path / "empty") == ["new"]


def test_what_comes_there_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with (
        pytest.raises(OutputError, match="holds something else"),
        fresh_folder(folder, lambda _: False),
    ):
        written(folder.with_name("other")).rename(folder)
    assert os.listdir(folder) == ["new"]


def test_one_process_at_a_time_and_a_killed_one_is_cleared_away(tmp_path: Path) -> None:
    folder = written(tmp_path / "made")
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="is being made by another process"):
            written(folder)
        holder.send_signal(signal.SIGKILL)
    assert os.listdir(folder) == ["new"]
    assert (tmp_path / ".made.new" / "half").exists()
    written(folder)
    assert os.listdir(folder) == ["new"]
    assert os.listdir(tmp_path) == ["made"]
