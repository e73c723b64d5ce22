"""The pages' programs run with the built wheel and what it declares, and with nothing else."""

import asyncio
import re
import sys
import tomllib
from pathlib import Path

import pytest

from jobs.redis.store import RedisStore
from service.settings import ServiceSettings
from tests.deploy.tools import ROOT
from tests.jobs.examples import claim
from tests.service.client.distribution import CLIENT, dependencies, isolated, run, wheel
from tests.service.dialects.playing import png
from tests.service.served import served
from tests.service.worker import advance, finish

PAGES = (ROOT / "docs" / "apis" / "python.md", ROOT / "README.md")
ADDRESS = "http://127.0.0.1:8000"
JOBS = 6  # that the pages' programs submit


def test_its_version_is_the_project_s() -> None:
    versions = {
        tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
        for folder in (ROOT, CLIENT)
    }
    assert len(versions) == 1


def program(folder: Path, url: str) -> Path:
    """Write the pages' programs into one file."""
    pages = "".join(page.read_text() for page in PAGES)
    examples = re.findall(r"```python\n(.*?)```", pages, re.DOTALL)
    assert all(ADDRESS in example for example in examples)
    path = folder / "program.py"
    path.write_text("\n".join(examples).replace(ADDRESS, url))
    return path


async def drawn(store: RedisStore, settings: ServiceSettings, folder: Path, *begin: str) -> str:
    """Run the pages' programs by a command, playing the worker; return what they printed."""
    with served(settings) as (url, _):
        command = [*begin, str(program(folder, url))]
        running = asyncio.create_task(asyncio.to_thread(run, command, folder))
        for _ in range(JOBS):
            while not (await store.backlog("toy")).pending_jobs and not running.done():
                await asyncio.sleep(0.01)
            if running.done():
                break
            held = await claim(store)
            await advance(store, held, 3, preview=True)
            await finish(store, held, png())
        return await running


def check(output: str, folder: Path) -> None:
    lines = output.splitlines()
    assert "image 0: 9 bytes of image/png" in lines
    assert {"a red apple (64, 64)", "a blue fish (64, 64)"} <= set(lines)
    assert any(line.startswith("422 invalid_request unknown sampler 'eular'") for line in lines)
    assert any(line.startswith("sampler: unknown sampler") for line in lines)
    assert lines[-1] == "result"
    assert len(list(folder.glob("*.png"))) == 2  # the played worker's seeds are all alike


@pytest.mark.usefixtures("announced")
async def test_it_draws_from_its_wheel(
    settings: ServiceSettings, store: RedisStore, tmp_path: Path
) -> None:
    made = await asyncio.to_thread(wheel, tmp_path)
    command = isolated(made, dependencies(made, tmp_path / "libraries"))
    check(await drawn(store, settings, tmp_path, *command), tmp_path)


@pytest.mark.full
@pytest.mark.usefixtures("announced")
async def test_it_draws_and_is_typed_in_an_environment_of_its_own(
    settings: ServiceSettings, store: RedisStore, tmp_path: Path
) -> None:
    made = wheel(tmp_path)
    run([sys.executable, "-m", "venv", "--without-pip", "own"], tmp_path)
    python = str(tmp_path / "own" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run([*pip, "--disable-pip-version-check", "--quiet", str(made)], tmp_path)
    (site,) = (tmp_path / "own").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(str(dependencies(made, tmp_path / "libraries")))
    check(await drawn(store, settings, tmp_path, python, "-I"), tmp_path)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", python]
    await asyncio.to_thread(run, [*mypy, "program.py"], tmp_path)
