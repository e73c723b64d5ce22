"""The page that lists the clients: its rows are what is tested, and its examples run."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from jobs.redis.store import RedisStore
from service.settings import ServiceSettings
from tests.needs import ROOT
from tests.service.dialects.clients.programs import ADDRESS, TIMEOUT_S, output
from tests.service.dialects.playing import drawing
from tests.service.served import served
from tests.service.worker import finish

FOLDER = Path(__file__).parent
PAGE = ROOT / "docs" / "apis" / "README.md"
ROW = re.compile(r"\| `(\S+)` of (PyPI|npm) \| (\S+) \| (.+) \| (.+) \| \[test\]\((\S+)\) \|")


class Row(NamedTuple):
    client: str
    registry: str
    version: str
    calls: str
    here: str
    test: str


def rows() -> list[Row]:
    """Return the table's rows; one that is written otherwise is an error."""
    _, _, *lines = (line for line in PAGE.read_text().splitlines() if line.startswith("|"))
    found = [ROW.fullmatch(line) for line in lines]
    assert None not in found, lines[found.index(None)]
    return [Row(*match.groups()) for match in found if match]


def pinned(path: Path) -> dict[tuple[str, str], str]:
    """Return the versions that a file of requirements names."""
    found = re.findall(r"^([\w-]+)==(\S+)$", path.read_text(), re.MULTILINE)
    return {(name, "PyPI"): version for name, version in found}


def installed_for_clients() -> dict[tuple[str, str], str]:
    """Return the versions of the clients that `make test-clients` installs."""
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    node = {(name, "npm"): locked[f"node_modules/{name}"]["version"] for name in wanted}
    return pinned(FOLDER / "requirements.txt") | node


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.client}-{row.registry}")
def test_a_row_names_what_its_test_calls(row: Row) -> None:
    versions = pinned(ROOT / "constraints.txt") | installed_for_clients()
    assert row.version == versions[row.client, row.registry]
    text = (PAGE.parent / row.test).read_text()
    calls = re.findall(r"`([\w.]+\.\w+)`", row.calls + row.here)
    assert calls
    for call in calls:
        name = re.escape(call.rpartition(".")[2])
        assert re.search(rf"\.{name}\b", text), f"{row.test} does not call {call}"


def test_every_client_has_a_row() -> None:
    assert set(installed_for_clients()) <= {(row.client, row.registry) for row in rows()}


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (FOLDER / "package-lock.json").read_text()


@pytest.mark.clients
@pytest.mark.needs("clients")
@pytest.mark.parametrize("number", range(3))
async def test_an_example_prints_a_link(
    settings: ServiceSettings, announced: None, store: RedisStore, number: int
) -> None:
    language, example = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    program = example.replace("http://127.0.0.1:8000", ADDRESS).replace("emoji", "toy")
    with served(settings) as (url, _):
        async with drawing(store, lambda held: finish(store, held), TIMEOUT_S) as claimed:
            said = await output(language, program, url)
    assert said.splitlines()[-1] == f"{url}/v1/jobs/{claimed[0].id}/images/0"
