"""The check before a start: what would run, or what is missing."""

from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from workers.check import main
from workers.settings import DEFAULT_MODEL, WorkerSettings


def test_the_check_names_model_backend_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SFUMATO_MODEL", str(tiny_bundle(tmp_path / "mine")))
    monkeypatch.setenv("SFUMATO_DEVICE", "cpu")
    assert main(["--provider", "cpu"]) == 0
    assert ": torch on cpu" in capsys.readouterr().out


def test_the_check_fails_on_a_missing_provider_and_on_a_missing_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--provider", "tensorrt"]) == 1
    assert "TensorrtExecutionProvider is missing" in capsys.readouterr().err
    monkeypatch.setenv("SFUMATO_MODEL", str(tmp_path / "nowhere"))
    assert main([]) == 1
    assert "nowhere is not a directory" in capsys.readouterr().err
    monkeypatch.setenv("SFUMATO_MODEL", "nothing-of-this-name")
    assert main([]) == 1
    assert "SFUMATO_MODEL: nothing-of-this-name is neither" in capsys.readouterr().err


def test_a_model_is_named_by_its_path_or_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    tiny_bundle(models / "mine")
    (models / "mine" / "added.json").write_text("{}")
    monkeypatch.setenv("SFUMATO_MODELS", str(models))
    for given, folder in (("mine", models / "mine"), ("emoji", DEFAULT_MODEL)):
        monkeypatch.setenv("SFUMATO_MODEL", given)
        assert WorkerSettings().model == folder
    monkeypatch.delenv("SFUMATO_MODEL")
    assert WorkerSettings().model == DEFAULT_MODEL
