"""``sfumato-client`` as it is built, and an interpreter that has it and what it declares alone."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.tools import ROOT

CLIENT = ROOT / "service" / "client"
BUILD = "import setuptools.build_meta as backend; print(backend.build_wheel('..'))"
START = """
import runpy, sys
sys.path[:0] = sys.argv[1:3]
sys.argv[:] = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
ours = {"service", "jobs", "workers", "diffusion", "redis", "fastapi", "torch", "orjson"}
assert not ours & sys.modules.keys(), ours & sys.modules.keys()
"""


def wheel(folder: Path) -> Path:
    """Build the wheel in a folder, from a copy and without a network."""
    source = folder / "source"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("__pycache__", "build"))
    run([sys.executable, "-W", "ignore", "-c", BUILD], source)
    (made,) = folder.glob("*.whl")
    return made


def dependencies(made: Path, folder: Path) -> Path:
    """Return a folder with what a wheel declares, Pillow included, by links to this machine's."""
    (metadata,) = Distribution.discover(path=[str(made)])
    folder.mkdir()
    for found in needed(metadata, ("", "pillow"), {}).values():
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (folder / top).symlink_to(str(found.locate_file(top)))
    return folder


def needed(
    of: Distribution, extras: Iterable[str], found: dict[str, Distribution]
) -> dict[str, Distribution]:
    """Return what a distribution needs with these extras, and what that needs, by name."""
    for each in map(Requirement, of.requires or ()):
        name, marker = canonicalize_name(each.name), each.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)
        if wanted and name not in found:
            found[name] = distribution(name)
            needed(found[name], ("", *each.extras), found)
    return found


def isolated(made: Path, libraries: Path) -> list[str]:
    """Return the command that runs a program with these alone on its path."""
    return [sys.executable, "-I", "-S", "-c", START, str(made), str(libraries)]


def run(command: list[str], folder: Path) -> str:
    """Run a command to its end; return what it printed."""
    outcome = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout
