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


def test_a_limit_that_is_too_low_is_named_at_the_start() -> None:
    program = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (512, 512));"
        "sys.argv[1:] = ['--port', '0'];"
        "from service.uvicorn_door import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "512 files" in line
    assert "ulimit -Hn" in line
