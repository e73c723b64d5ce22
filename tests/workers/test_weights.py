"""Weights are compared before anything reads them."""

import io
import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

from diffusion.files import digest
from tests.bundles import tiny_bundle
from workers.weights import main


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    return Path(tiny_bundle(tmp_path / "tiny"))


def packed(folder: Path, archive: Path) -> str:
    """Pack a folder; return the archive's digest."""
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=folder.name)
    return sha256(archive.read_bytes()).hexdigest()


def fetch(archive: Path, folder: Path, expected: str) -> int:
    """Fetch a model from an archive; return the exit code."""
    return main(["fetch", archive.as_uri(), str(folder), "--sha256", expected])


def test_an_archive_is_fetched_once_and_is_the_model(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = tmp_path / "model.tar", tmp_path / "models" / "model"
    expected = packed(bundle_folder, archive)
    assert fetch(archive, folder, expected) == 0
    assert digest(folder) == digest(bundle_folder)
    assert digest(folder) in capsys.readouterr().out
    archive.unlink()
    assert fetch(archive, folder, expected) == 0, "what is there already needs no archive"
    assert main(["check", str(folder), "--sha256", digest(bundle_folder)]) == 0
    assert sorted(p.name for p in folder.parent.iterdir()) == ["model", "model.sha256"]


def test_another_archive_is_not_unpacked(
    bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = tmp_path / "model.tar", tmp_path / "models" / "model"
    packed(bundle_folder, archive)
    assert fetch(archive, folder, "0" * 64) == 1
    assert "has sha256" in capsys.readouterr().err
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["../outside.json", "/etc/outside.json", "tiny/unet/model.bin"])
def test_an_archive_with_what_no_bundle_may_hold_leaves_nothing(
    name: str, bundle_folder: Path, tmp_path: Path
) -> None:
    archive, folder = tmp_path / "model.tar", tmp_path / "models" / "model"
    with tarfile.open(archive, "w") as tar:
        tar.add(bundle_folder, arcname="tiny")
        info = tarfile.TarInfo(name)
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    outcome = fetch(archive, folder, sha256(archive.read_bytes()).hexdigest())
    assert not (tmp_path / "outside.json").exists()
    assert not (tmp_path / "models" / "outside.json").exists()
    if name.startswith("/"):  # the leading slash is dropped, and the file stays inside
        assert (outcome, Path("/etc/outside.json").exists()) == (0, False)
    else:
        assert outcome == 1
        assert list(folder.parent.iterdir()) == []


def test_a_changed_folder_is_found(bundle_folder: Path, tmp_path: Path) -> None:
    expected = digest(bundle_folder)
    assert main(["check", str(bundle_folder), "--sha256", expected]) == 0
    changed = tmp_path / "changed"
    shutil.copytree(bundle_folder, changed)
    (config,) = (changed / "unet").glob("config.json")
    config.write_text(config.read_text() + " ")
    assert main(["check", str(changed), "--sha256", expected]) == 1


def test_a_missing_source_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(tmp_path / "gone.tar", tmp_path / "m", "0" * 64) == 1
    assert "gone.tar" in capsys.readouterr().err
