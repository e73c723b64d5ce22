from collections.abc import Iterator

import pytest

from tests.workers.harness import Bench


@pytest.fixture(autouse=True)
def benches_stop(nothing_is_left_open: None) -> Iterator[None]:
    """Stop the engines of a test's benches."""
    yield
    while Bench.running:
        Bench.running.pop().engine.stop()
