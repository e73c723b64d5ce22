"""Tests that need a program, a font or a library say so, and are skipped where it is missing.

``pytest.mark.needs("promtool")`` marks a module, a test or a parameter. Marks are read before any
fixture is set up, so a skipped test has opened nothing. The last line of a run names what was
missing and the command that installs it.
"""

import os
import shutil
import sys
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest
from PIL import features

from model_export.data.font import NOTO

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "build" / "tools" / "bin", Path(sys.executable).parent)
CLIENTS = ROOT / "build" / "clients"
"""The environment of clients whose libraries are not ours."""
HIDDEN = frozenset(os.environ.get("SFUMATO_TEST_HIDE", "").split(","))
"""Names that are treated as missing, so that a fully equipped machine can play a bare one."""
MAY_SKIP = os.environ.get("SFUMATO_TEST_SKIP") != "never"
"""Whether a run in which a test is skipped may succeed."""
FETCHED = {
    "clients": "make test-clients",
    "dclint": "make tools",
    "helm": "make tools",
    "kubectl": "make tools",
}
"""What make fetches; `make test` fetches the tools."""
PACKAGES = {
    "chromium": "chromium",
    "fonts-noto-color-emoji": "fonts-noto-color-emoji",
    "libfaketime": "faketime",
    "libraqm": "libraqm0",
    "mount": "mount",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
}
"""Debian's package of each."""


@cache
def find(name: str) -> str | None:
    """Return the path of a program, font or library, None where it is missing."""
    if name not in FETCHED.keys() | PACKAGES.keys():
        raise LookupError(f"{name!r} is not in the tables of {__name__}")
    return None if name in HIDDEN else _find(name)


def _find(name: str) -> str | None:
    if name == "clients":
        return str(CLIENTS) if (CLIENTS / ".installed").exists() else None
    if name == "fonts-noto-color-emoji":
        return str(NOTO) if NOTO.exists() else None
    if name == "libfaketime":
        return next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    if name == "libraqm":
        return features.version("raqm") if features.check("raqm") else None
    return shutil.which(name, path=os.pathsep.join(map(str, FOLDERS))) or shutil.which(name)


@cache
def has_gpu() -> bool:
    """Return whether there is a CUDA device."""
    import torch  # slow to import, and few tests ask

    return torch.cuda.is_available()


def path_of(name: str) -> str:
    """Return the path of what the running test is marked to need."""
    found = find(name)
    assert found is not None, f'{name} is missing: mark the test with pytest.mark.needs("{name}")'
    return found


def install(names: set[str]) -> str:
    """Return the command that installs these."""
    commands = sorted({FETCHED[name] for name in names & FETCHED.keys()})
    packages = sorted({PACKAGES[name] for name in names - FETCHED.keys()})
    return " && ".join(commands + ["apt-get install " + " ".join(packages)] * bool(packages))


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark; hide from Pillow, too, what is to be hidden."""
    config.addinivalue_line("markers", "needs(name, ...): needs programs, fonts or libraries")
    if "libraqm" in HIDDEN:
        check = features.check
        features.check = lambda feature: feature != "raqm" and check(feature)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test for which something is missing."""
    if item.get_closest_marker("gpu") and not has_gpu():
        pytest.skip("no CUDA device")
    needed = {name for mark in item.iter_markers("needs") for name in mark.args}
    missing = sorted(name for name in needed if find(name) is None)
    item.user_properties += [("missing", name) for name in missing]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """End the run with a line about what was missing, and as failed if nothing may be."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if line := last_line(skipped):
        reporter.write_line(line)
    if skipped and not MAY_SKIP:
        reporter.write_line("SFUMATO_TEST_SKIP=never: a run that skips tests has failed")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def last_line(skipped: list[pytest.TestReport]) -> str | None:
    """Return what was missing for how many tests, and the command that installs it."""
    wanted = [{str(value) for key, value in r.user_properties if key == "missing"} for r in skipped]
    missing: set[str] = set().union(*wanted)
    if not missing:
        return None
    return (
        f"{sum(map(bool, wanted))} tests skipped, missing {', '.join(sorted(missing))}. "
        f"To run them: {install(missing)}"
    )
