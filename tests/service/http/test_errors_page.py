"""docs/errors.md has every code that a client can meet, with the status it comes with."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import service
from jobs.schema import FAILURE_CODES
from service.application import create_app
from service.settings import ServiceSettings

SERVICE = Path(service.__file__).parent
REFUSALS, FAILURES = (
    (SERVICE.parent / "docs" / "errors.md").read_text().split("## Why a job failed")
)


def rows(table: str) -> dict[str, str]:
    """Return each code with the cell beside it."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE))


def refused() -> set[tuple[int, str]]:
    """Return each (status, code) that the service's source answers with side by side."""
    found = set()
    for path in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            for pair in pairs(node):
                match pair:
                    case ast.Constant(int(status)), ast.Constant(str(code)):
                        if 400 <= status < 600 and re.fullmatch(r"[a-z_]+", code):
                            found.add((status, code))
    return found


def pairs(node: ast.AST) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    """Yield neighbours among a call's arguments or a tuple's elements, and a dictionary's items."""
    match node:
        case ast.Call(args=parts) | ast.Tuple(elts=parts):
            yield from pairwise(parts)
        case ast.Dict(keys=keys, values=values):
            yield from zip(keys, values, strict=True)


def test_the_page_lists_every_refusal_with_its_statuses() -> None:
    listed = {
        (int(status), code)
        for code, cell in rows(REFUSALS).items()
        for status in re.findall(r"\d{3}", cell)
    }
    assert refused() <= listed
    assert {code for _, code in refused()} == {code for _, code in listed}


def test_the_page_lists_every_reason_for_a_failed_job() -> None:
    assert set(rows(FAILURES)) == set(FAILURE_CODES)


def test_submitting_documents_durability_that_cannot_be_had() -> None:
    responses = create_app(ServiceSettings()).openapi()["paths"]["/v1/jobs"]["post"]["responses"]
    assert "501" in responses
