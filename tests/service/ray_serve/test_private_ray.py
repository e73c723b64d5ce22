"""What a private Ray finds on the machine: files, folders, addresses."""

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import StartError
from service.ray_serve.private_ray import LONGEST, files_lost, short_folder
from service.ray_serve.settings import REPLICA_PORTS, private_environment


@pytest.fixture
def short() -> Iterator[Path]:
    folder = Path("/tmp") / secrets.token_hex(1)
    while folder.exists():
        folder = Path("/tmp") / secrets.token_hex(1)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_files_are_in_the_data_folder_where_no_cleaner_of_tmp_comes(short: Path) -> None:
    (short / "ray").mkdir()
    (short / "ray" / "left by a killed run").touch()
    with short_folder(short) as folder:
        assert folder == short / "ray"
        assert list(folder.iterdir()) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not files_lost(short)
        folder.rmdir()
        assert files_lost(short)
    assert list(short.iterdir()) == []


def test_a_long_path_takes_a_locked_folder_in_tmpdir(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / ("d" * 60)
    data.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short))  # what TMPDIR sets
    with short_folder(data) as folder:
        assert folder.parent == short
        assert len(os.fsencode(folder)) <= LONGEST
        held = os.open(folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):  # as systemd-tmpfiles finds it
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(held)
        killed = folder
        (data / "ray-folder").write_text(str(killed))
    killed.mkdir()
    (data / "ray-folder").write_text(str(killed))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 60)))  # too long: /tmp
    with short_folder(data) as folder:
        assert folder.parent == Path("/tmp")
        assert not killed.exists()
    assert not folder.exists()


def test_no_two_of_its_ports_are_the_same(tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    names = ("HAPROXY_METRICS", "HAPROXY_STATS", "FALLBACK_PROXY_HTTP")
    own = [int(env[f"RAY_SERVE_{name}_PORT"]) for name in names]
    low, high = (int(env[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
    assert len({*own, *range(low, high + 1)}) == len(own) + REPLICA_PORTS + 1


@pytest.mark.parametrize("note", ["/", "/etc", "..", "", "\x00", "nowhere"])
def test_a_note_never_removes_a_foreign_folder(short: Path, note: str) -> None:
    (short / "kept").mkdir()
    (short / "ray-folder").write_text(note)
    with short_folder(short):
        pass
    assert (short / "kept").exists()
    assert Path("/etc").exists()


def test_no_folder_that_is_short_enough_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    data = tmp_path / ("d" * 60)
    data.mkdir()
    with pytest.raises(StartError, match="not writable"), short_folder(data):
        pass
