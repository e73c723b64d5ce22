"""Captions of a custom data set: a text file beside each image, or one list of them all."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from model_export.errors import DataError

LISTS = (
    "captions.csv",
    "metadata.csv",
    "metadata.jsonl",
)  # the last two as on the Hugging Face hub
COLUMNS = ("file_name", "text")
ADVICE = "write a .txt of the same name beside it, or a line in captions.csv"

Captions = dict[str, tuple[str, ...]]  # by the image's name in the folder
Row = tuple[int, str, str]  # line, file_name, text


def read_captions(folder: Path, names: Sequence[str]) -> Captions:
    """Return the captions of the images ``names``, at least one each.

    Raises:
        DataError: an image has none, one is empty, or one is of an image that does not exist.
    """
    lists = [folder / name for name in LISTS if (folder / name).exists()]
    if len(lists) > 1:
        raise DataError(f"{folder} has {' and '.join(p.name for p in lists)}: keep one of them")
    texts = _texts(folder, names)
    if lists and texts:
        first = next(iter(texts.values()))
        raise DataError(f"{first}: {lists[0].name} has captions too: keep one of the two")
    found = _listed(lists[0], names) if lists else {n: _lines(path) for n, path in texts.items()}
    missing = [name for name in names if name not in found]
    if missing:
        more = f" (nor do {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"{folder / missing[0]} has no caption{more}: {ADVICE}")
    return found


def _texts(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return the text file of each image that has one."""
    owners: dict[Path, str] = {}
    for name in names:
        path = folder / PurePosixPath(name).with_suffix(".txt")
        if not path.exists():
            continue
        if path in owners:
            raise DataError(f"{path} is beside {owners[path]} and {name}: rename one of them")
        owners[path] = name
    return {name: path for path, name in owners.items()}


def _lines(path: Path) -> tuple[str, ...]:
    captions = tuple(filter(None, map(_squeezed, re.split(r"\r\n|\r|\n", _read(path)))))
    if not captions:
        raise DataError(f"{path} is empty: each line is a caption")
    return captions


def _listed(path: Path, names: Sequence[str]) -> Captions:
    known = set(names)
    found: dict[str, tuple[str, ...]] = {}
    for line, file_name, text in _json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path):
        name, caption = PurePosixPath(file_name).as_posix(), _squeezed(text)
        if name not in known:
            raise DataError(f"{path} line {line}: there is no image {file_name!r}")
        if not caption:
            raise DataError(f"{path} line {line}: the caption of {file_name} is empty")
        if caption in found.get(name, ()):
            raise DataError(f"{path} line {line}: {file_name} has the caption {caption!r} already")
        found[name] = (*found.get(name, ()), caption)
    return found


def _csv_rows(path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(_read(path), newline=""))
    try:
        for row in reader:
            if None in row:
                extra = "quote a caption that has a comma in it"
                raise DataError(f"{path} line {reader.line_num}: too many columns; {extra}")
            yield _row(path, reader.line_num, row)
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: {error}") from error


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} line {number} is not JSON ({error})") from error
        yield _row(path, number, value)


def _row(path: Path, line: int, value: object) -> Row:
    given = value if isinstance(value, dict) else {}
    file_name, text = (given.get(column) for column in COLUMNS)
    if not isinstance(file_name, str) or not isinstance(text, str):
        raise DataError(f"{path} line {line}: {' and '.join(COLUMNS)} must be text")
    return line, file_name, text


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")  # spreadsheets write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 ({error})") from error


def _squeezed(text: str) -> str:
    return " ".join(text.split())
