"""A models directory of a test's own, a tiny model to add, and the command that adds it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import pytest

from tests.bundles import tiny_bundle
from tests.processes import wait
from tests.workers.models.server import Site, site_running
from workers.models.cli import main
from workers.models.sources import download

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(scope="package")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tiny model once; nobody changes it."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def mine(tiny: Path, tmp_path: Path) -> Path:
    """Give a test a copy that it may change."""
    return Path(shutil.copytree(tiny, tmp_path / "mine"))


@dataclass
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a command that failed."""
        assert self.code == 1, self.out + self.err
        line = self.err.splitlines()[-1]
        assert line.startswith("sfumato: ")
        return line.removeprefix("sfumato: ")


@dataclass
class Command:
    """``python -m workers.models`` in this process."""

    models: Path
    captured: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> Said:
        self.captured.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        out, err = self.captured.readouterr()
        return Said(code, out, err)

    def names(self) -> list[str]:
        """Return all that is in the models directory."""
        if not self.models.exists():
            return []
        return sorted(path.name for path in self.models.iterdir())

    def arrived(self) -> list[int]:
        """Return how many bytes there are of each file that is being downloaded."""
        try:
            return [path.stat().st_size for path in self.models.rglob("*.part")]
        except FileNotFoundError:  # it has just been given its name
            return []

    def killed_at(self, size: int, *words: str) -> None:
        """Run it in a process of its own; kill that once so many bytes of a file have arrived."""
        running = subprocess.Popen([sys.executable, "-m", "workers.models", *words])
        try:
            wait(f"{size} bytes", lambda: running.poll() is not None or self.arrived() == [size])
            assert running.poll() is None
        finally:
            running.kill()
            running.wait()


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    models = tmp_path / "models"
    monkeypatch.setenv("SFUMATO_MODELS", str(models))
    monkeypatch.setenv("SFUMATO_DEVICE", "cpu")
    monkeypatch.setenv("SFUMATO_LOG_LEVEL", "ERROR")
    for name in ("SFUMATO_MODEL", "SFUMATO_MODEL_NAME", "HF_TOKEN", "HF_HUB_OFFLINE", *PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "WAIT_S", 0.01)
    monkeypatch.setattr(download, "REPORT_S", float("inf"))
    return Command(models, capsys)


@pytest.fixture
def site(nothing_is_left_open: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Run a server that is the hub, too."""
    with site_running() as running:
        template = f"{running.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", "/nonexistent")
        yield running
        huggingface_hub.close_session()
