"""The limit on open files."""

import subprocess
import sys


def test_limit_is_raised_from_a_low_one() -> None:
    program = (
        "import resource as r; from service.door_process import raise_file_limit as f;"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (128, hard));"
        "assert f() == r.getrlimit(r.RLIMIT_NOFILE)[0] > 128 or hard <= 128; assert f()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
