"""docs/errors.md has every code that a client can meet, with the status it comes with."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import service
from jobs.schema import FAILURE_CODES
from service.application import create_app
from service.problem import TITLES
from service.settings import ServiceSettings

SERVICE = Path(service.__file__).parent
REFUSALS, FAILURES = (
    (SERVICE.parent / "docs" / "errors.md").read_text().split("## Why a job failed")
)


def rows(table: str) -> dict[str, str]:
    """Return each code with the cell beside it."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE))


def raised() -> Iterator[tuple[int, str]]:
    """Return each (status, code) that the service's source answers with side by side."""
    for path in SERVICE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call | ast.Tuple):
                args = node.args if isinstance(node, ast.Call) else node.elts
                values = [arg.value if isinstance(arg, ast.Constant) else None for arg in args]
                for status, code in pairwise(values):
                    if isinstance(status, int) and code in TITLES:
                        yield status, str(code)


def test_the_page_lists_every_code_of_a_refusal() -> None:
    assert set(rows(REFUSALS)) == set(TITLES)


def test_the_page_gives_every_status_that_a_code_comes_with() -> None:
    listed = {
        (int(status), code)
        for code, cell in rows(REFUSALS).items()
        for status in re.findall(r"\d{3}", cell)
    }
    found = set(raised())
    assert len(found) > 20
    assert found <= listed


def test_the_page_lists_every_reason_for_a_failed_job() -> None:
    assert set(rows(FAILURES)) == set(FAILURE_CODES)


def test_submitting_documents_durability_that_cannot_be_had() -> None:
    responses = create_app(ServiceSettings()).openapi()["paths"]["/v1/jobs"]["post"]["responses"]
    assert "501" in responses
