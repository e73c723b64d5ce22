"""What a supervisor says about a child that ends while the stack starts."""

import os
import sys
from pathlib import Path

import pytest

from service.processes.supervisor import Child, ChildFailed, Supervisor

DEEP = "def f(n):\n    return 1 / 0 if n == 0 else 1 + f(n - 1)\nf(9)"


def failure(tmp_path: Path, program: str) -> ChildFailed:
    supervisor = Supervisor(report=print)
    child = Child("worker-1", [sys.executable, "-c", program], os.environ, tmp_path / "child.log")
    child.log.write_text("an older run said this\n")
    supervisor.start(child)
    try:
        child.process.wait(60)
        with pytest.raises(ChildFailed) as failed:
            supervisor.check_starting()
        return failed.value
    finally:
        supervisor.stop()


@pytest.mark.parametrize(
    "reason", ["bad settings: SFUMATO_SLOTS: no", "no separator \u2028 ends a line"]
)
def test_a_reason_is_said_in_one_line(tmp_path: Path, reason: str) -> None:
    program = f'import sys; print(\'{{"event": "starting"}}\', flush=True); sys.exit({reason!r})'
    failed = failure(tmp_path, program)
    assert (str(failed), list(failed.output)) == (f"worker-1: {reason}", [])


@pytest.mark.parametrize("program", ["1/0", DEEP, "import os; print('x', flush=True); os._exit(3)"])
def test_a_crash_comes_with_the_end_of_this_start_s_log(tmp_path: Path, program: str) -> None:
    failed = failure(tmp_path, program)
    assert "worker-1 ended with code" in str(failed)
    assert str(tmp_path / "child.log") in str(failed)
    assert failed.output
    assert not any("older run" in line for line in failed.output)


def test_a_silent_end_is_said_too(tmp_path: Path) -> None:
    assert "is empty" in str(failure(tmp_path, "import os; os._exit(1)"))
