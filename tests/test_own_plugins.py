"""The test suite's own plugins: what is left open is found, what is missing is named."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import needs
from tests.leaks import watched

SKIPPING = """
import pytest

@pytest.fixture
def opened():
    raise AssertionError("a fixture was set up before the skip")

@pytest.mark.needs("helm", "promtool")
def test_both(opened): pass

@pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.needs("promtool")), 2])
def test_one(x): pass
"""


def test_what_is_left_open_is_named() -> None:
    end, opened = threading.Event(), ExitStack()

    def forgetful() -> None:
        with watched(grace_s=0):
            thread = threading.Thread(target=end.wait, args=(600,), name="forgotten")
            thread.start()
            opened.callback(thread.join)
            opened.callback(end.set)
            child = opened.enter_context(subprocess.Popen(["sleep", "600"]))
            opened.callback(child.kill)
            opened.enter_context(socket.create_server(("127.0.0.1", 0)))

    with opened, pytest.raises(AssertionError) as caught:
        forgetful()
    for word in ("thread forgotten", "process ", "socket:"):
        assert word in str(caught.value)


def test_what_ends_within_the_grace_is_no_leak() -> None:
    with watched(grace_s=60):
        threading.Timer(0.2, lambda: None).start()


def test_a_test_is_skipped_before_its_fixtures_and_the_last_lines_say_what_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_it.py").write_text(SKIPPING)
    command = [sys.executable, "-m", "pytest", "-p", "tests.needs", "-n", "1", "-c", "/dev/null"]
    outcome = subprocess.run(
        [*command, str(tmp_path)],
        cwd=needs.ROOT,
        env=os.environ | {"SFUMATO_TEST_HIDE": "helm,promtool", "SFUMATO_TEST_SKIP": "never"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    *_, counts, missing, last = outcome.stdout.splitlines()
    assert "1 passed, 2 skipped" in counts
    assert missing == (
        "2 tests skipped, missing helm, promtool. "
        "To run them: make tools && apt-get install prometheus"
    )
    assert last == "SFUMATO_TEST_SKIP=never: a run that skips tests has failed"
    assert outcome.returncode == pytest.ExitCode.TESTS_FAILED


def test_names_become_the_commands_that_bring_them() -> None:
    assert needs.install({"helm"}) == "make tools"
    assert needs.install({"clients", "helm"}) == "make test-clients && make tools"
    assert needs.install({"prometheus", "promtool"}) == "apt-get install prometheus"
    assert needs.install({"kubectl", "libfaketime", "redis-cli"}) == (
        "make tools && apt-get install faketime redis-tools"
    )


def test_what_no_mark_names_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LookupError, match="'hammer' is not in the tables"):
        needs.find("hammer")
    monkeypatch.setattr(needs, "find", lambda name: None)
    with pytest.raises(AssertionError, match="helm is missing: mark the test"):
        needs.path_of("helm")
