"""Options, settings and folders that cannot work: one line that names them, before any work."""

import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.settings import JobsSettings
from service.cli.main import app
from service.processes.ports import free_port
from tests.service.client.test_connection import web_server

NOWHERE = "/proc/sfumato"  # where nobody can make a folder
VARIABLES = [name for name in os.environ if name.startswith("SFUMATO_") or name == "REDIS_URL"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with one file, without settings."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(words: list[str], code: int | None = None) -> str:
    """Run a command that fails; return its one line."""
    outcome = CliRunner().invoke(app, words)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit)
    assert outcome.exit_code in ((1, 2) if code is None else (code,)), outcome.output
    (line,) = outcome.output.splitlines()
    assert line.startswith("sfumato: ")
    assert Path("file").read_text() == "kept"
    assert sorted(path.name for path in Path().iterdir()) == ["dangling", "file"]
    return line


USAGE = [
    ("nonsense", "nonsense"),
    ("up --nonsense", "--nonsense"),
    ("up extra", "extra"),
    ("up --port 70000", "--port"), ("up --port -1", "--port"), ("up --port x", "--port"),
    ("up --port 80.5", "--port"), ("up --port", "--port"),
    ("up --workers -1", "--workers"), ("up --workers many", "--workers"),
    ("up --workers 100000", "--workers"),
    ("up --autoscale -1", "--autoscale"), ("up --autoscale 1e3", "--autoscale"),
    ("up --slots 0", "--slots"), ("up --slots x", "--slots"), ("up --slots 5000", "--slots"),
    ("up --door nonsense", "--door"), ("demo --door x", "--door"),
    ("draw", "prompt"), ("draw a b", "b"),
    ("draw a --steps x", "--steps"), ("draw a --steps 1.5", "--steps"),
    ("draw a --guidance x", "--guidance"), ("draw a --guidance nan", "--guidance"),
    ("draw a --guidance inf", "--guidance"), ("draw a --seed x", "--seed"),
    ("draw a --n x", "--n"), ("draw a --size 64", "--size"), ("draw a --size 64x", "--size"),
    ("draw a --size ٦٤x٦٤", "--size"), ("draw a --size -1x5", "--size"),
    ("draw a --preview noise", "--preview"), ("draw a --syntax sd", "--syntax"),
    ("draw a --format gif", "--format"), ("draw a --priority urgent", "--priority"),
    ("models export", "model"), ("models export nowhere", "model"), ("models export file", "model"),
    ("models export . --precision fp8", "--precision"),
    ("models export . --weights x", "--weights"),
    ("models export . --threads 0", "--threads"), ("models export . --out file", "--out"),
    ("models add", "source"), ("models add x --prediction x", "--prediction"),
    ("models show", "model"), ("models check", "model"), ("models remove", "name"),
    ("models remove a b", "b"), ("models installed x", "x"),
    ("keys create", "tenant"), ("keys create A", "'A'"), ("keys create a/b", "'a/b'"),
    ("keys create a --scope x", "--scope"), ("keys create a --expires x", "'x'"),
    ("keys create a --expires 0d", "--expires"), ("keys create a --expires ١d", "'١d'"),
    ("keys create a --rate-limit 0", "--rate-limit"),
    ("keys create a --rate-limit x", "--rate-limit"),
    (f"keys create a --label {'x' * 201}", "--label"),
    ("keys list --tenant A", "'A'"), ("keys rotate", "key_id"),
    ("keys rotate x --overlap x", "'x'"), ("keys revoke", "key_id"),
    ("tenants set A", "'A'"), ("tenants set a --weight 0", "--weight"),
    ("tenants set a --weight nan", "--weight"),
    ("tenants set a --weight x", "--weight"),
    ("tenants set a --max-units -1", "--max-units"),
    ("tenants set a --max-units nan", "--max-units"),
    ("tenants set a --max-units inf", "--max-units"), ("tenants remove A", "'A'"),
    ("tenants purge A --yes", "'A'"), ("webhooks secret A", "'A'"),
    ("webhooks secret a --overlap x", "'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "named"), USAGE, ids=[command for command, _ in USAGE])
def test_a_bad_option_is_named(command: str, named: str) -> None:
    assert named in refused(command.split(), 2)


FOLDERS = ["file", "file/below", "dangling", NOWHERE, "x" * 300]


@pytest.mark.parametrize("folder", FOLDERS, ids=["file", "below", "dangling", "proc", "long"])
@pytest.mark.parametrize("command", ["up --port 0 --data", "draw a --out", "demo --out"])
def test_a_folder_that_cannot_be_written_is_named(command: str, folder: str) -> None:
    assert folder in refused([*command.split(), folder], 1)


COMMANDS = ["keys list", "keys create a", "keys revoke x", "keys rotate x", "tenants list",
            "tenants set a", "tenants remove a", "tenants purge a --yes", "webhooks secret a",
            "models forget x"]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_a_stack_is_named(command: str) -> None:
    words = command.split()
    for folder in ("NOSUCH", "file", NOWHERE):
        assert folder in refused([*words, "--data", folder], 1)
    assert "var" in refused(words, 1)  # the default is no Redis that happens to run here


@pytest.mark.parametrize("text", ["nonsense", "\x1b[2J", "http://127.0.0.1:1"])
def test_a_damaged_note_of_a_stack_is_not_followed(text: str) -> None:
    data = Path("file")
    data.unlink()
    data.mkdir()
    (data / "redis-url").write_text(text)
    outcome = CliRunner().invoke(app, ["keys", "list", "--data", "file"])
    assert (outcome.exit_code, len(outcome.output.splitlines())) == (1, 1)
    assert "SFUMATO_REDIS_URL" in outcome.output
    assert "\x1b" not in outcome.output


@pytest.mark.parametrize(
    ("host", "reason"),
    [("nowhere.invalid", "known"), ("192.0.2.1", "assign"), ("300.1.1.1", ""), ("a" * 70, "")],
)
def test_a_host_of_another_machine_is_named(host: str, reason: str) -> None:
    line = refused(["up", "--port", "0", "--host", host], 1)
    assert host in line
    assert reason in line


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refused(["up", "--port", port], 1)


@pytest.mark.parametrize("url", ["nonsense", "localhost:8000", "ftp://x", "http://", "http://::1"])
@pytest.mark.parametrize("command", ["draw a --out .", "models list"])
def test_a_bad_url_is_named(command: str, url: str) -> None:
    assert repr(url) in refused([*command.split(), "--url", url], 2)


@pytest.mark.parametrize(
    "command", ["draw a --out .", "grid a --x steps=1,2 --out .", "jobs list", "models list"]
)
def test_the_url_of_the_environment_is_taken(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_URL", "http://127.0.0.1:9")
    assert "cannot reach http://127.0.0.1:9:" in refused(command.split(), 3)
    assert "cannot reach http://127.0.0.1:7:" in refused(
        [*command.split(), "--url", "http://127.0.0.1:7"], 3
    )


@pytest.mark.parametrize("key", ["ключ", "a b", "a\nb"])
@pytest.mark.parametrize("command", ["draw a --out .", "models list"])
def test_a_bad_key_is_named_and_not_printed(
    command: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "API key" in refused([*command.split(), "--api-key", key], 2)
    monkeypatch.setenv("SFUMATO_API_KEY", key)
    line = refused(command.split(), 2)
    assert "API key" in line
    assert key not in line


REDIS_URLS = [
    "nonsense", "http://x", "redis://x:99999", "redis://x:y", "redis://x/name",
    "redis://x/1/2",
    "redis://x?nonsense=1", "redis://x?socket_timeout=x", "unix://", "sentinel://x",
    "redis://:secret@x:y",
]  # fmt: skip


@pytest.mark.parametrize("url", REDIS_URLS)
@pytest.mark.parametrize("command", ["up --port 0", *COMMANDS])
def test_a_bad_redis_url_is_named(command: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_REDIS_URL", url)
    line = refused(command.split(), 1)
    assert "SFUMATO_REDIS_URL" in line
    assert "secret" not in line


@pytest.mark.parametrize("variable", ["SFUMATO_REDIS_URL", "REDIS_URL"])
def test_a_redis_that_does_not_answer_is_named(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv(variable, f"redis://:secret@127.0.0.1:{port}/0")
    line = refused(["up", "--port", "0"], 1)
    assert f"127.0.0.1:{port}" in line
    assert f"{variable} " in line
    assert "secret" not in line


def test_a_redis_that_does_not_answer_a_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("SFUMATO_REDIS_URL", f"redis://:secret@127.0.0.1:{port}/0")
    line = refused(["keys", "list"], 3)
    assert f"127.0.0.1:{port}" in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "name", ["lock", "url-secret", "redis-url", "operator-key", "logs", "redis"]
)
def test_a_data_folder_with_something_else_in_it_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path("data")
    data.mkdir()
    if name in ("logs", "redis"):
        (data / name).write_text("kept")
    else:
        (data / name).mkdir()
    monkeypatch.setenv("SFUMATO_AUTH", "keys")
    words = ["up", "--port", "0", "--workers", "0", "--door", "uvicorn", "--data", "data"]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 1, outcome.output
    assert f"data/{name}" in outcome.output.splitlines()[-1]
    assert isinstance(outcome.exception, SystemExit)


def test_a_redis_that_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs_settings: JobsSettings
) -> None:
    with web_server(b"x", "text/plain") as (url, _):
        other = url.replace("http://", "redis://:secret@")
        for address in (
            other,
            jobs_settings.redis_url.replace("redis://", "redis://nobody:secret@"),
        ):
            monkeypatch.setenv("SFUMATO_REDIS_URL", address)
            assert "secret" not in refused(["keys", "list"], 3)
            assert "secret" not in refused(["up", "--port", "0"], 1)
