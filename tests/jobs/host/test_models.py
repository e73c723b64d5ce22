"""A model is found by its path, and by its name where it is installed or included."""

from pathlib import Path

import pytest

from jobs.host.models import RECORD, default_models, find_model, installed_names, served_name

INCLUDED = Path("/opt/emoji")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a models directory of two models, a folder, a link and a staging folder."""
    folder = tmp_path / "models"
    for name in ("sdxl", "sd15", ".adding", "bad name"):
        (folder / name).mkdir(parents=True)
        (folder / name / RECORD).write_text("{}")
    (folder / "copied").mkdir()
    (folder / "linked").symlink_to("sdxl")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


def test_a_name_is_that_of_an_installed_model(models: Path) -> None:
    assert installed_names(models) == ["sd15", "sdxl"]
    assert find_model(Path("sdxl"), models) == models / "sdxl"
    assert find_model(Path("emoji"), models, INCLUDED) == INCLUDED
    assert installed_names(models / "none") == []


@pytest.mark.parametrize("name", ["copied", "linked", "SDXL", "gone"])
def test_nothing_else_counts_as_installed(models: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is neither .* \(emoji, sd15, sdxl\)"):
        find_model(Path(name), models)


def test_a_path_stays_a_path(models: Path) -> None:
    for path in (Path("/srv/sdxl"), Path("a/b"), Path("../sdxl"), Path(".adding")):
        assert find_model(path, models) == path


def test_a_model_in_the_working_directory_goes_first(models: Path) -> None:
    Path("sdxl").mkdir()
    assert find_model(Path("sdxl"), models) == models / "sdxl"
    Path("sdxl/model_index.json").write_text("{}")
    assert find_model(Path("sdxl"), models) == Path("sdxl")
    Path("mine").mkdir()
    assert find_model(Path("mine"), models) == Path("mine"), "the loader says what it lacks"


def test_the_directory_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_models() == Path("/home/me/.local/share/sfumato/models")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_models() == Path("/data/sfumato/models")


@pytest.mark.parametrize("text", ['{"name": 3}', "[]", "{", '{"name": ""}', "[" * 10**5])
def test_a_broken_name_is_the_folders(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert served_name(folder) == "mine"
    (folder / "sfumato.json").write_text(text)
    assert served_name(folder) == "mine"
    (folder / "sfumato.json").write_text('{"name": "other"}')
    assert served_name(folder) == "other"
