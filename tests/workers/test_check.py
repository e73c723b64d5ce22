"""The check before a start: what would run, or what is missing."""

from pathlib import Path

import pytest

from tests.bundles import tiny_bundle
from workers.check import main


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
