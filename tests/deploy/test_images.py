"""The recipes of the images and the Compose file. No image is built here: there is no engine."""

import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import ServiceSettings
from tests.deploy.tools import CHART, ROOT, run
from tests.needs import path_of
from tests.test_house import MAY_IMPORT
from workers.settings import WorkerSettings

DOOR, WORKER = (ROOT / "deploy" / "docker" / f"{n}.Dockerfile" for n in ("door", "worker"))
OF = {DOOR: "service", WORKER: "workers"}
COMPOSE = ROOT / "deploy" / "compose.yaml"


def copied(recipe: Path) -> list[str]:
    """Return what a recipe copies from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", recipe.read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


@pytest.mark.parametrize("recipe", OF, ids=lambda path: path.stem)
def test_hadolint_passes(recipe: Path) -> None:
    outcome = run(Path(sys.executable).with_name("hadolint"), recipe)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.needs("dclint")
def test_dclint_passes() -> None:
    outcome = run(
        path_of("dclint"), "--max-warnings", "0", "-c", ROOT / "deploy" / ".dclintrc", COMPOSE
    )
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize("recipe", OF, ids=lambda path: path.stem)
def test_copied_files_exist_and_are_not_ignored(recipe: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for source in copied(recipe):
        assert (ROOT / source).exists(), source
        assert source in let_through, source


@pytest.mark.parametrize("recipe", OF, ids=lambda path: path.stem)
def test_an_image_installs_from_what_it_copies(recipe: Path, tmp_path: Path) -> None:
    """The wheel made of these files alone has the packages that the image's own may import."""
    package = OF[recipe]
    expected = {package, *MAY_IMPORT[package]}
    source = tmp_path / "source"
    source.mkdir()
    for name in copied(recipe):
        if (ROOT / name).is_dir():
            # The weights make no difference here, but they would take a second to pack.
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("models"))
        else:
            shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    outcome = run(sys.executable, "-c", f"import os; os.chdir({str(source)!r}); {build}", tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.partition("/")[0] for name in names if "dist-info" not in name}
    assert packages == expected
    scripts = {path.name for path in (ROOT / "jobs" / "lua").glob("*.lua")}
    assert {Path(name).name for name in names if name.endswith(".lua")} >= scripts


@pytest.mark.parametrize("recipe", OF, ids=lambda path: path.stem)
def test_images_are_pinned_and_do_not_run_as_root(recipe: Path) -> None:
    text = recipe.read_text()
    variables = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
    stages = set(re.findall(r" AS (\S+)$", text, re.MULTILINE))
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        name = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], image)
        assert name in stages or re.search(r":\d+\.\d+\.\d+-", name), image
    last = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert "gcc" not in last
    assert "build-essential" not in last


def test_the_chart_and_compose_run_the_same_redis() -> None:
    image = yaml.safe_load((CHART / "values.yaml").read_text())["redis"]["bundled"]["image"]
    assert compose()["services"]["redis"]["image"] == f"{image['repository']}:{image['tag']}"


def test_compose_serves_the_shipped_model_or_a_folder() -> None:
    services = compose()["services"]
    variables = r"\$\{(SFUMATO_MODEL_\w+):-(.*)\}"
    for name in ("worker", "worker-cpu"):
        given = services[name]["environment"]
        mount, pool = services[name]["volumes"]
        assert (pool["target"], pool["read_only"]) == ("/models/pool", True)
        assert (mount["target"], mount["read_only"]) == (given["SFUMATO_MODEL"], True)
        folder, called = (
            re.fullmatch(variables, text) for text in (mount["source"], given["SFUMATO_MODEL_NAME"])
        )
        assert folder is not None
        assert called is not None
        assert (folder[1], called[1]) == ("SFUMATO_MODEL_DIR", "SFUMATO_MODEL_NAME")
        shipped = json.loads((COMPOSE.parent / folder[2] / "sfumato.json").read_text())
        assert shipped["name"] == called[2]
        assert services["door"]["environment"]["SFUMATO_DEFAULT_MODEL"] == called[0]


def test_compose_gives_settings_that_exist() -> None:
    known = {*ServiceSettings.model_fields, *WorkerSettings.model_fields}
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert isinstance(value, str), name
            if name.startswith("SFUMATO_"):
                assert name.removeprefix("SFUMATO_").lower() in known, name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
