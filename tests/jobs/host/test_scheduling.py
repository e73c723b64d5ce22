"""Threads that stand back behind those that compute."""

import os
import sys
import threading
from pathlib import Path

import pytest

from jobs.host.scheduling import compete, waited_s, yield_to_others


@pytest.mark.skipif(sys.platform != "linux", reason="schedulers differ")
def test_a_thread_stands_back_with_those_it_starts() -> None:
    policies: list[int] = []

    def note() -> None:
        policies.append(os.sched_getscheduler(0))

    def others() -> None:
        yield_to_others()
        note()
        started = threading.Thread(target=note)
        started.start()
        started.join()
        compete()
        note()

    thread = threading.Thread(target=others)
    thread.start()
    thread.join()
    assert policies == [os.SCHED_BATCH, os.SCHED_BATCH, os.SCHED_OTHER]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_system_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    yield_to_others()
    monkeypatch.delattr(os, "SCHED_BATCH", raising=False)
    yield_to_others()


def test_a_thread_knows_how_long_it_waited_for_a_processor(tmp_path: Path) -> None:
    assert 0 <= waited_s() <= waited_s()
    assert waited_s(tmp_path / "none") == 0
    (tmp_path / "schedstat").write_text("136884 3500852000 2\n")
    assert waited_s(tmp_path / "schedstat") == pytest.approx(3.500852)
    (tmp_path / "schedstat").write_text("?")
    assert waited_s(tmp_path / "schedstat") == 0
