"""What users wrote is shown as written, in any terminal, and moves nothing in it."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from jobs.telemetry.text import shown
from service.cli import drawing
from service.cli.main import app
from service.cli.operators.keys import app as keys_app
from service.cli.shared.encoding import escape_what_streams_lack, is_unicode
from service.cli.shared.table import print_table
from service.cli.shared.terminal import console, half_blocks, print_error, progress
from service.client.client import Sfumato
from tests.service.cli.scripted_door import job, picture, scripted
from tests.service.conftest import Command

assert app
assert keys_app
MARKUP = r"[/b] [cat:dog:0.5] [link=https://x.example]a[/link] [bold]b :smile: \[c] c\d [@click=x]"
ACTIVE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\b\x7f\u2028\u2029\u202e\u2066\u0085\v\f\x1c"
CONTROLS = sorted(character for character in set(ACTIVE) if not character.isprintable())
Output = Callable[[], str]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Output]:
    """Return a function that gives standard output and error an encoding; it returns a reader."""

    def encoded(encoding: str = "utf-8") -> Output:
        buffer = io.BytesIO()
        stream = io.TextIOWrapper(buffer, encoding, errors="strict", write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        escape_what_streams_lack()
        return lambda: buffer.getvalue().decode(encoding)

    return encoded


def drawn(client: Sfumato, out: Path) -> None:
    screen = console()
    with client:
        drawing.show(drawing.draw(client, [{"prompt": "x"}], out, screen), screen)


def clean(text: str) -> bool:
    return not set(text) & set(CONTROLS)


@pytest.mark.parametrize("text", [MARKUP, "章鱼 🐙 é", "a\\b", "[", "]]", "[/]", "{x} %s $HOME"])
def test_a_prompt_is_shown_as_written(
    text: str, screen: Callable[[str], Output], tmp_path: Path
) -> None:
    output = screen("utf-8")
    drawn(scripted(job(prompt=text)), tmp_path)
    assert text in output()


def test_an_error_is_shown_as_written(screen: Callable[[str], Output], tmp_path: Path) -> None:
    output = screen("utf-8")
    drawn(scripted(job(error=MARKUP, prompt="[/b]")), tmp_path)
    print_error(MARKUP, MARKUP)
    assert output().count(MARKUP) == 3
    assert "failed [/b]" in output()


def test_a_refusal_is_shown_as_written(
    monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path
) -> None:
    client = scripted(job(), refusal=MARKUP + ACTIVE)
    monkeypatch.setattr("service.cli.shared.terminal.Sfumato", lambda *_, **__: client)
    output = command("draw", MARKUP, "--out", str(tmp_path), code=4).output
    assert MARKUP in output
    assert clean(output.rstrip("\n"))


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp437", "euc_jp"])
def test_any_terminal_gets_characters_that_it_has(
    encoding: str, screen: Callable[[str], Output], tmp_path: Path
) -> None:
    output = screen(encoding)
    for prompt in ("章鱼 🐙 é " + MARKUP, ACTIVE):
        drawn(scripted(job(prompt=prompt)), tmp_path)
        drawn(scripted(job(error=prompt, prompt=prompt)), tmp_path)
        print_error(prompt)
        print_table(("id", "label"), [("x", prompt)])
    said = output()
    assert "saved" in said
    assert MARKUP in said
    assert clean(said.replace("\n", ""))
    assert "█" not in said or encoding == "utf-8"
    assert ("\\u7ae0" in said or "章" in said) is True


def test_an_image_is_shown_without_blocks_where_there_are_none() -> None:
    plain = half_blocks(picture(), 8, plain=True)
    assert set(plain.plain) == {" ", "\n"}
    assert set(half_blocks(picture(), 8).plain) == {"▀", "\n"}
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "ascii", errors="strict", write_through=True)
    terminal = Console(file=stream, force_terminal=True, color_system="truecolor", width=80)
    terminal.print(progress("[/b]\x1b[2J", 3, 10, "[x]\u202e", picture(), plain=True))
    assert b"[/b]\\x1b[2J" in buffer.getvalue()
    assert b"[x]\\u202e" in buffer.getvalue()


@pytest.mark.parametrize("character", [*CONTROLS, "\x00", "\ud800", "\ufeff", "\u2069"])
def test_what_acts_on_a_terminal_is_escaped(character: str) -> None:
    assert character not in shown(f"a{character}b")
    assert shown(f"a{character}b").isprintable()


def test_what_only_looks_odd_is_left_alone() -> None:
    for text in ("👩\u200d🚀", "नमस्\u200cते", "e\u0301", "\\x1b", "[/b]", "\u00a0"):
        assert shown(text) == text


def test_which_encodings_have_every_character() -> None:
    assert all(map(is_unicode, ("utf-8", "UTF8", "utf_16", "UTF-8-SIG")))
    assert not any(map(is_unicode, ("ascii", "latin-1", "cp1252", "", None)))


def test_ids_are_never_cut(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    label = f"{MARKUP}{ACTIVE}{'long ' * 10}"
    made = command("keys", "create", "a" * 64, "--label", label, "--expires", "1d")
    key_id = made.output.split("sfu_")[1].split("_")[0]
    command("tenants", "set", "b" * 64)
    listed = command("keys", "list").output
    assert MARKUP in listed
    assert clean(listed.replace("\n", ""))
    (line,) = [line for line in listed.split("\n") if line.startswith(key_id)]
    assert "a" * 64 in line
    assert "b" * 64 in command("tenants", "list").output
    for words in (("rotate", line.split()[0]), ("revoke", line.split()[0])):
        command("keys", *words)


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "name"), [("章鱼", "x"), ("a", "")])
    assert capsys.readouterr().out == "id    name\n章鱼  x\na\n"


def test_models_are_listed_whole(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr("service.cli.shared.terminal.Sfumato", lambda *_, **__: scripted(job()))
    assert command("models", "list").output.split("\n")[1].split()[:3] == ["toy", "64x64", "10"]
