"""Lines of caption files end at CR, LF and CRLF alone; consoles print names as they are."""

from pathlib import Path

import pytest

from model_export.data.caption_files import read_captions
from model_export.terminal import plain_console

SEPARATORS = ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"]


@pytest.mark.parametrize("mark", SEPARATORS, ids=lambda mark: f"{ord(mark):04X}")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_no_other_character_ends_a_line(tmp_path: Path, mark: str, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(f"a red{mark}apple{end}a pear{end}".encode())
    assert read_captions(tmp_path, ["a.png"]) == {"a.png": ("a red apple", "a pear")}
    table = f"file_name,text{end}b.png,a red{mark}fig{end}c.png,a plum{end}"
    (tmp_path / "captions.csv").write_bytes(table.encode())
    found = read_captions(tmp_path, ["b.png", "c.png"])
    assert found == {"b.png": ("a red fig",), "c.png": ("a plum",)}


def test_a_path_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    plain_console().print("→ out/[b]x[/b]/[link=y]:smile:")
    assert capsys.readouterr().out == "→ out/[b]x[/b]/[link=y]:smile:\n"
