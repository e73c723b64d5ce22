"""docs/apis/cli.md names the commands and exit codes that there are, and its examples are valid."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from service.cli.bench.command import CLIENTS
from service.cli.bench.load import PER_CLIENT
from service.cli.grid.axes import PARAMETERS
from service.cli.grid.command import MOST_CELLS
from service.cli.main import app
from service.cli.shared.exit_codes import ExitCode

PAGE = (Path(__file__).parents[3] / "docs" / "apis" / "cli.md").read_text()
EXAMPLES = [
    shlex.split(line)[1:]
    for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


def commands(group: typer.core.TyperGroup, name: str = "sfumato") -> Iterator[str]:
    """Yield the commands of a group, and the group itself where it is one."""
    for word, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from [f"{name} {word}"] if command.invoke_without_command else []
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}"


def root() -> typer.core.TyperGroup:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `sfumato ")]
    documented = [name for row in rows for name in re.findall(r"`(sfumato [^`]+)`", row)]
    assert sorted(documented) == sorted(commands(root()))


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", PAGE, re.MULTILINE)
    assert rows == [(str(code.value), code.name.lower()) for code in ExitCode]


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_an_example_is_a_command(words: list[str]) -> None:
    root().commands[words[0]].make_context(words[0], words[1:])  # raises on what it does not know


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    assert f"at most {MOST_CELLS} cells" in PAGE
    assert f"At most {CLIENTS * PER_CLIENT} jobs" in PAGE
    assert all(f"`{name}`" in PAGE for name in PARAMETERS)
