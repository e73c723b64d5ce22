"""What a private Ray finds on the machine: ports, files, folders, addresses."""

import fcntl
import os
import resource
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import StartError
from service.ray_serve.bind_address import address_of, script_for, serve_host
from service.ray_serve.private_ray import LONGEST, files_lost, short_folder
from service.ray_serve.settings import MOST_CONNECTIONS, OTHER_FILES, connections, free_block


def test_every_port_of_a_block_is_free() -> None:
    first = free_block(8)
    with socket.socket() as taken:
        taken.bind(("", first + 5))
        assert free_block(8, first, first + 16) == first + 8
        with pytest.raises(RuntimeError, match=f"{first} and {first + 8}"):
            free_block(8, first, first + 8)


@pytest.mark.parametrize("limit", [1024, 4096, 10_000, 65_536, resource.RLIM_INFINITY])
def test_haproxy_s_connections_fit_its_limit_of_files(limit: int) -> None:
    clients = connections(limit)
    needed = 2 * clients + clients // 2 + OTHER_FILES  # HAProxy: two a client, pipes for a quarter
    assert clients >= 100
    assert clients == MOST_CONNECTIONS or limit - 8 <= needed <= limit


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield Path(folder)


def test_files_are_in_the_data_folder_where_no_cleaner_of_tmp_comes(short: Path) -> None:
    (short / "ray").mkdir()
    (short / "ray" / "left by a killed run").touch()
    with short_folder(short) as folder:
        assert folder == short / "ray"
        assert list(folder.iterdir()) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not files_lost(short)
        folder.rmdir()
        assert files_lost(short)
    assert list(short.iterdir()) == []


def test_a_long_path_takes_a_locked_folder_in_tmpdir(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / ("d" * 60)
    data.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short))  # what TMPDIR sets
    with short_folder(data) as folder:
        assert folder.parent == short
        assert len(os.fsencode(folder)) <= LONGEST
        held = os.open(folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):  # as systemd-tmpfiles finds it
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(held)
        killed = folder
        (data / "ray-folder").write_text(str(killed))
    killed.mkdir()
    (data / "ray-folder").write_text(str(killed))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 60)))  # too long: /tmp
    with short_folder(data) as folder:
        assert folder.parent == Path("/tmp")
        assert not killed.exists()
    assert not folder.exists()


@pytest.mark.parametrize("note", ["/", "/etc", "..", "", "\x00", "nowhere"])
def test_a_note_never_removes_a_foreign_folder(short: Path, note: str) -> None:
    (short / "kept").mkdir()
    (short / "ray-folder").write_text(note)
    with short_folder(short):
        pass
    assert (short / "kept").exists()
    assert Path("/etc").exists()


def test_no_folder_that_is_short_enough_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    data = tmp_path / ("d" * 60)
    data.mkdir()
    with pytest.raises(StartError, match="not writable"), short_folder(data):
        pass


@pytest.mark.parametrize(
    ("host", "line"), [("::1", "::1:8000"), ("::", ":::8000 v4v6"), ("*", ":::8000 v4v6")]
)
def test_haproxy_listens_on_an_ipv6_address(short: Path, host: str, line: str) -> None:
    given, variables = serve_host(host, 8000, short)
    assert given == "127.0.0.1"
    (script,) = variables.values()
    assert os.access(script, os.X_OK)
    config = short / "haproxy.cfg"
    config.write_text("    bind :9000\n    bind 127.0.0.1:8000\n    bind 127.0.0.1:80001\n")
    text = script_for(address_of(host), 8000, "/bin/echo")
    Path(script).write_text(text)
    said = subprocess.run(
        [script, "-db", "-f", config, "-sf", "1"], capture_output=True, check=True
    )
    assert said.stdout.decode().split() == ["-db", "-f", str(config), "-sf", "1"]
    assert config.read_text().split("\n")[1] == f"    bind {line}"
    assert config.read_text().count("127.0.0.1") == 1
    assert serve_host("127.0.0.1", 8000, short) == ("127.0.0.1", {})
