"""The programs on a page, and how they are run against a stack."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECIPES = DOCS / "recipes"
ADDRESS = "http://127.0.0.1:8000"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
Ended = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Page:
    """The fenced blocks of a page, by language and in its order."""

    python: tuple[str, ...]
    sh: tuple[str, ...]
    yaml: tuple[str, ...]


def page(name: str, folder: Path = RECIPES) -> Page:
    """Return a recipe's programs; every block has to say what it is."""
    text = (folder / f"{name}.md").read_text()
    blocks: dict[str, list[str]] = {"python": [], "sh": [], "yaml": []}
    for language, code in FENCE.findall(text):
        blocks[language].append(code.replace("sfumato_client", "service.client"))  # as it is here
    assert text.count("```") == 2 * sum(map(len, blocks.values()))
    return Page(*(tuple(blocks[language]) for language in ("python", "sh", "yaml")))


def commands(block: str) -> list[list[str]]:
    """Return the commands of a shell block, as words, without their comments."""
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def exports(block: str, url: str) -> dict[str, str]:
    """Return what a block exports, with the stack's address."""
    found = dict(re.findall(r"^export (\w+)=(\S+)", block, re.MULTILINE))
    return {name: value.replace(ADDRESS, url) for name, value in found.items()}


class Shell:
    """Runs programs in a folder, as a reader of the page would."""

    def __init__(self, folder: Path, url: str = "", **variables: str) -> None:
        self.folder, self.url = folder, url
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "SFUMATO_URL": url, "COLUMNS": "200"}
        self.variables = os.environ | own | variables

    def python(self, program: str, **variables: str) -> Ended:
        """Run a program in Python to its end; it has to succeed."""
        return self._run([sys.executable, "-c", program.replace(ADDRESS, self.url)], variables)

    def sh(self, block: str, **variables: str) -> Ended:
        """Run a block of commands to its end; it has to succeed."""
        block = block.replace(ADDRESS, self.url)
        return self._run(["bash", "-euo", "pipefail", "-c", block], variables)

    def start(self, block: str, **variables: str) -> subprocess.Popen[str]:
        """Start a block of commands; the last one takes the shell's place."""
        *before, last = block.strip().splitlines()
        script = "\n".join([*before, f"exec {last}"])
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, text=True,
            env=self.variables | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _run(self, command: list[str], variables: dict[str, str]) -> Ended:
        outcome = subprocess.run(
            command, cwd=self.folder, env=self.variables | variables, capture_output=True,
            text=True, timeout=200, check=False,
        )  # fmt: skip
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return outcome
