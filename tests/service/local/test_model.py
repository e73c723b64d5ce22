"""The model that `sfumato up --model` gives its workers and its door."""

from pathlib import Path

import pytest

from jobs.host.models import RECORD
from service.local.environment import check_environment, model_variables
from service.local.errors import StackError
from service.local.stack import StackOptions


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    (folder / "sdxl").mkdir(parents=True)
    (folder / "sdxl" / RECORD).write_text("{}")
    for name in ("SFUMATO_MODEL", "SFUMATO_MODEL_NAME", "SFUMATO_DEFAULT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SFUMATO_MODELS", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("model", "name"),
    [("sdxl", "sdxl"), ("emoji", "emoji"), ("mine", "named"), ("./mine", "named")],
)
def test_it_is_the_default_of_requests_under_its_name(model: str, name: str) -> None:
    Path("mine").mkdir()
    Path("mine/sfumato.json").write_text('{"name": "named"}')
    assert model_variables(Path(model)) == {
        "SFUMATO_MODEL": str(Path(model)),
        "SFUMATO_MODEL_NAME": name,
        "SFUMATO_DEFAULT_MODEL": name,
    }


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_MODEL_NAME", "mine")
    monkeypatch.setenv("SFUMATO_DEFAULT_MODEL", "another")
    found = model_variables(Path("sdxl"))
    assert (found["SFUMATO_MODEL_NAME"], found["SFUMATO_DEFAULT_MODEL"]) == ("mine", "another")


@pytest.mark.parametrize("autoscale", [0, 2])
def test_workers_of_ray_scale_by_its_name(tmp_path: Path, autoscale: int) -> None:
    options = StackOptions(tmp_path, autoscale=autoscale, model=Path("sdxl"))
    assert check_environment(options)["SFUMATO_MODEL_NAME"] == "sdxl"
    assert check_environment(StackOptions(tmp_path, autoscale=autoscale)) == {}


@pytest.mark.parametrize(
    ("model", "said"),
    [("gone", "neither a folder nor an installed model"), ("a/gone", "is not a directory")],
)
def test_what_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path, model: str, said: str
) -> None:
    with pytest.raises(StackError, match=said):
        check_environment(StackOptions(tmp_path, model=Path(model)))
    bad = tmp_path / "a b"
    bad.mkdir()
    with pytest.raises(StackError, match="set SFUMATO_MODEL_NAME"):
        check_environment(StackOptions(tmp_path, model=bad))
