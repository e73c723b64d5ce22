"""A real stack for all tests of a process, and a browser for those of a file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.service.page.browser import Visit, chromium
from tests.stack.up import Up

EMOJI = Path(__file__).parents[3] / "diffusion" / "models" / "emoji"
Visits = Callable[..., Visit]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run the whole service with the included model."""
    running = Up(tmp_path_factory.mktemp("page") / "data", EMOJI, "--door", "uvicorn")
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def url(stack: Up) -> str:
    """Return the service's address once it serves jobs."""
    return stack.ready(timeout_s=240)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Open a browser: no test of the same file can be asynchronous."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def visits(browser: Browser, url: str) -> Iterator[Visits]:
    """Return a function that begins a visit; none may leave an error behind."""
    begun: list[Visit] = []

    def begin(address: str = url, **options: Any) -> Visit:
        begun.append(Visit(browser, address, **options))
        return begun[-1]

    yield begin
    for each in begun:
        each.context.close()
    for each in begun:
        each.check()


@pytest.fixture
def visit(visits: Visits) -> Visit:
    """Begin a visit of the real service."""
    return visits()
