"""The house: which package may import which, how wings depend on each other, how large they are."""

import ast
import json
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("service", "jobs", "workers", "diffusion", "model_export")
MAY_IMPORT = {
    "service": {"jobs"},
    "jobs": set(),
    "workers": {"jobs", "diffusion"},
    "diffusion": set(),
    "model_export": {"diffusion"},
}
FORBIDDEN = {
    "service": {"torch", "diffusers", "transformers", "onnxruntime"},
    "jobs": {"torch", "ray", "fastapi", "starlette", "diffusers", "transformers", "numpy"},
    "workers": {"ray", "fastapi", "starlette", "uvicorn"},
    "diffusion": {"ray", "fastapi", "celery", "redis", "prometheus_client"},
    "model_export": {"ray", "fastapi", "celery", "redis", "prometheus_client"},
}
FOLDERS = {
    "service", "workers", "model_export", "deploy", "tests", "jobs", "diffusion", "docs",
}  # fmt: skip
CLIENT = Path("service/client")  # a distribution of its own
MOST_FILES = 16
MOST_LINES = 400
IMPORT_ALL = """
import importlib, json, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the top-level names that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("package", OURS)
def test_source_imports_only_what_it_may(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in sources(package):
        names = imported(path)
        wrong = (names & set(OURS)) - allowed | (names & FORBIDDEN[package]) | (names & {"tests"})
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize(
    "package",
    [
        pytest.param(name, marks=[pytest.mark.full] * (name in ("diffusion", "model_export")))
        for name in OURS
    ],
)
def test_a_fresh_interpreter_loads_nothing_forbidden(package: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, package],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    loaded = set(json.loads(outcome.stdout.splitlines()[-1]))
    others = set(OURS) - MAY_IMPORT[package] - {package}
    assert not loaded & (others | FORBIDDEN[package])


def test_importing_reads_no_settings_and_starts_nothing() -> None:
    script = (
        "import os, threading\n"
        "os.environ['SFUMATO_LEASE_S'] = 'not a number'\n"
        "import workers.app, service.uvicorn_door, service.cli.main, jobs.settings\n"
        "print(threading.active_count())"
    )
    outcome = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.split() == ["1"]


def test_the_client_stands_alone() -> None:
    needed = {"httpx", "pydantic", "pydantic_core", "IPython", "PIL"}  # the last two if installed
    for path in sources(str(CLIENT)):
        assert imported(path) <= needed | sys.stdlib_module_names, path


def tracked() -> list[str]:
    outcome = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if outcome.returncode != 0:
        pytest.skip("not a git checkout")
    return outcome.stdout.splitlines()


def test_no_other_top_level_folder() -> None:
    folders = {name.partition("/")[0] for name in tracked() if "/" in name}
    assert {folder for folder in folders if not folder.startswith(".")} <= FOLDERS


def test_files_that_packages_need_are_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["*"]
    suffixes = {pattern.removeprefix("**/*") for pattern in patterns}
    for name in tracked():
        path = Path(name)
        own = path.parent == CLIENT and path.name in ("pyproject.toml", "LICENSE")
        if path.parts[0] in OURS and path.suffix != ".py" and not own:
            assert path.suffix in suffixes or path.name in suffixes, name


def test_no_file_speaks_of_a_pickle_to_load() -> None:
    for package in OURS:
        for path in sources(package):
            assert "pickle" not in imported(path), path
            assert "torch.load(" not in path.read_text(), path


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def wing_of(module: str) -> str:
    """Return the wing that a module lies in, or the module itself where it lies in none."""
    package = ROOT / module.replace(".", "/") / "__init__.py"
    return module if package.exists() or module.count(".") < 2 else module.rpartition(".")[0]


def imported_modules(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, in full."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if (ROOT / f"{name.replace('.', '/')}.py").exists() else node.module
                      for name in names}  # fmt: skip
    return {name for name in found if name.partition(".")[0] in OURS}


@pytest.mark.parametrize("package", OURS)
def test_no_import_between_wings_runs_back_up(package: str) -> None:
    arrows: dict[str, set[str]] = {}
    for path in sources(package):
        wing = wing_of(module_of(path))
        targets = {wing_of(name) for name in imported_modules(path)} - {wing}
        arrows.setdefault(wing, set()).update(t for t in targets if t.startswith(f"{package}."))
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail("imports run in a circle: " + " → ".join(error.args[1]))


def test_no_folder_has_more_than_sixteen_files_side_by_side() -> None:
    counts = Counter(str(Path(name).parent) for name in tracked() if (ROOT / name).exists())
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_file_of_code_is_longer_than_four_hundred_lines() -> None:
    code = (ROOT / name for name in tracked() if name.endswith((".py", ".lua")))
    lengths = {path: len(path.read_text().splitlines()) for path in code if path.exists()}
    assert {str(path): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}
