"""A stack with the included model, for all recipes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.recipes.snippets import Shell
from tests.stack.up import Up
from workers.settings import DEFAULT_MODEL


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a stack whose webhooks may go to this machine."""
    receivers = {"webhook_networks": "127.0.0.0/8", "webhook_allow_http": "true"}
    folder = tmp_path_factory.mktemp("recipes") / "var"
    running = Up(folder, DEFAULT_MODEL, "--door", "uvicorn", **receivers)
    try:
        running.ready()
        yield running
    finally:
        running.end()


@pytest.fixture
def url(stack: Up) -> str:
    """Return the stack's address."""
    return stack.ready()


@pytest.fixture
def shell(url: str, stack: Up, tmp_path: Path) -> Shell:
    """Return a shell in an empty folder, from which the stack is found."""
    (tmp_path / "var").symlink_to(stack.data)
    return Shell(tmp_path, url)
