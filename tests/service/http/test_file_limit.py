"""The limit on open files."""

import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.faults.processes import environment
from tests.processes import PATIENCE_S, door_answers, process, wait

ALIVE = b"GET /healthz HTTP/1.1\r\nhost: door\r\n\r\n"
LIST = b"GET /v1/jobs HTTP/1.1\r\nhost: door\r\nconnection: close\r\n\r\n"


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


def received(client: socket.socket, end: bytes | None = None) -> bytes:
    """Return what the door says until this, or until it closes the connection."""
    found = b""
    with suppress(ConnectionError):
        while part := client.recv(65536):
            found += part
            if end is not None and found.endswith(end):
                break
    return found


def is_full(port: int) -> bool:
    """Return whether the door refuses a connection; another one it closes without a word."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        return b"too_many_connections" in received(client)


def test_a_full_door_still_reaches_redis(jobs_settings: JobsSettings, tmp_path: Path) -> None:
    port = free_port()
    program = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (1024, 1024));"
        "from service.uvicorn_door import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", program, "--port", str(port), "--data", str(tmp_path / "door")]
    with process(command, tmp_path / "log", **environment(jobs_settings)), ExitStack() as stack:
        wait("the door", lambda: door_answers(f"http://127.0.0.1:{port}"))
        idle: list[socket.socket] = []
        while True:
            client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
            stack.callback(client.close)
            with suppress(ConnectionError):
                client.sendall(ALIVE)
            if received(client, b'"ok"}').startswith(b"HTTP/1.1 200"):
                idle.append(client)
            elif is_full(port):
                break
        asking = idle[:48]  # as many may wait for Redis at a time
        for client in asking:
            client.sendall(LIST)
        assert {received(client).partition(b"\r\n")[0] for client in asking} == {b"HTTP/1.1 200 OK"}
