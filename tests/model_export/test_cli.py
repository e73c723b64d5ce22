"""The commands lead from a data set to a bundle with a card, and report an error in one line."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_export import cli
from model_export.data.data import save_dataset
from tests.model_export.data.test_data import noto, write_labels
from tests.model_export.examples import invoke, toy_dataset


def test_commands_lead_from_data_to_a_card(tmp_path: Path) -> None:
    data, run, bundle, gallery = (tmp_path / name for name in ("data", "run", "toy", "gallery"))
    save_dataset(toy_dataset(), data)
    invoke("gallery", data, "--emoji", "6", "--out", gallery)
    train = ("train", data, "--run", run, "--emoji", "6", "--batch", "4")
    invoke(*train, "--steps", "1")
    assert "2 steps" in invoke(*train, "--steps", "2")
    invoke("bundle", run, bundle, "--guidance", "1.5")
    quick = ("--gallery", gallery, "--steps", "2")
    output = invoke("evaluate", bundle, "--prompts", "zh", "--seeds", "1", *quick)
    assert "guidance 1.5" in output
    invoke("sheet", bundle, "--every", "2", *quick)
    assert "README.md" in invoke("card", bundle).replace("\n", "")
    assert "sheet.png" in (bundle / "README.md").read_text("utf-8")


@noto
def test_data_comes_from_font_and_labels(tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels")
    assert "2 emoji" in invoke("data", "--labels", labels, "--out", tmp_path / "data")
    assert (tmp_path / "data" / "pictures.npz").exists()


def test_training_needs_a_limit(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["train", str(tmp_path), "--run", str(tmp_path)])
    assert result.exit_code == 2
    assert "--minutes" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mix 0.4 0.1 0.2 0.2 0.2 0 0 0", "sum to 1, not 1.1"),
        ("--mix 1.2 -0.2 0 0 0 0 0 0", "between 0 and 1"),
        ("--mix nan 0 0 0 0 0 0 1", "between 0 and 1"),
        ("--one-step --prediction v_prediction", "goes with --prediction sample"),
        ("--one-step --weighting min_snr", "--weighting uniform"),
    ],
)
def test_training_options_that_do_not_fit(tmp_path: Path, options: str, message: str) -> None:
    command = ["train", str(tmp_path), "--run", str(tmp_path), "--steps", "1", *options.split()]
    result = CliRunner().invoke(cli.app, command, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_an_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["model_export", "bundle", str(tmp_path), str(tmp_path / "b")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert "not a checkpoint" in capsys.readouterr().out.replace("\n", " ")
