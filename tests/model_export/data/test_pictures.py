"""A folder of images is read whole, or the file that is wrong is named."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_export import cli
from model_export.data.data import CaptionedImage, load_dataset
from model_export.data.pictures import LARGEST, read_image, read_images
from model_export.errors import DataError
from tests.model_export.evaluation.drawings import draw_folder, draw_shape


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "custom")


def without_texts(folder: Path) -> None:
    """Take the captions away."""
    for path in folder.glob("*.txt"):
        path.unlink()


def captions_of(folder: Path) -> dict[str, tuple[str, ...]]:
    examples = read_images(folder).examples
    return {e.name: e.captions for e in examples if isinstance(e, CaptionedImage)}


def test_lines_beside_an_image_are_its_captions(folder: Path) -> None:
    captions = captions_of(folder)
    assert len(captions) == 24
    assert captions["red-ring.png"] == ("a red ring", "ring in red")


def test_text_without_an_image_is_no_caption(folder: Path) -> None:
    (folder / "red-ring.png").unlink()
    (folder / "README.txt").write_text("")
    assert len(captions_of(folder)) == 23


def test_folders_within_and_hidden_files(folder: Path) -> None:
    (folder / "more").mkdir()
    draw_shape("red", "ring").save(folder / "more" / "red-ring.webp")
    (folder / "more" / "red-ring.txt").write_text("\ufeff又一个红圈\r\n", "utf-8")
    (folder / "._red-ring.png").write_bytes(b"a Mac's")
    captions = captions_of(folder)
    assert len(captions) == 25
    assert captions["more/red-ring.webp"] == ("又一个红圈",)


def test_list_gives_captions_as_text_files_do(folder: Path) -> None:
    beside = captions_of(folder)
    rows = [(name, caption) for name, captions in beside.items() for caption in captions]
    without_texts(folder)
    table = "\r\n".join(["text,file_name", *(f'"{text}",./{name}' for name, text in rows)])
    (folder / "captions.csv").write_text(table, "utf-8-sig")
    assert captions_of(folder) == beside
    (folder / "captions.csv").unlink()
    lines = [json.dumps({"file_name": n, "text": t, "width": 160}) for n, t in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n", "utf-8")
    assert captions_of(folder) == beside


def test_image_is_the_middle_square_on_white(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    wide = Image.new("RGBA", (192, 64), (0, 0, 255, 255))
    wide.paste((255, 0, 0, 255), (64, 0, 128, 64))
    wide.paste((0, 0, 0, 0), (64, 32, 128, 64))
    wide.save(path)
    image = read_image(path, 64)
    assert (image[:32] == (255, 0, 0)).all()
    assert (image[32:] == 255).all()


def test_image_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    lying = Image.new("RGB", (640, 640), "white")
    lying.paste("black", (0, 0, 320, 640))
    lying.save(tmp_path / "lying.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "lying.jpg", 64)
    assert image[:30].max() < 20
    assert image[34:].min() > 235


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_usual_kind_is_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"dot.{'jpg' if mode == 'CMYK' else 'png'}"
    Image.new("RGB", (10, 10), "white").convert(mode).save(path)
    assert read_image(path, 64).min() > 250


def test_second_image_of_a_phone_is_ignored(tmp_path: Path) -> None:
    first, second = draw_shape("red", "square"), draw_shape("blue", "square")
    first.save(tmp_path / "both.jpg", "MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "both.jpg", 64)[32, 32, 0] > 200


def claims(path: Path, width: int, height: int) -> None:
    """Give a PNG's header another size; what follows is never read."""
    whole = path.read_bytes()
    head = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    path.write_bytes(whole[:12] + head + struct.pack(">I", zlib.crc32(head)) + whole[33:])


def huge(path: Path) -> None:
    claims(path, 20_000, LARGEST // 20_000 + 1)


def bomb(path: Path) -> None:
    claims(path, 20_000, 20_000)


def animated(path: Path) -> None:
    frames = [draw_shape(colour, "ring") for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def deep(path: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def disguised(path: Path) -> None:
    draw_shape("red", "ring").save(path, "GIF")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (huge, "more than 100,000,000 pixels"),
        (bomb, "larger than 100,000,000 pixels"),
        (animated, "animated"),
        (deep, "16 bits"),
        (truncated, "broken"),
        (disguised, "broken or no PNG"),
    ],
)
def test_unusable_image_is_named_and_nothing_written(
    folder: Path, spoil: Callable[[Path], None], fault: str
) -> None:
    path = folder / "red-ring.png"
    spoil(path)
    arguments = ["pictures", str(folder), "--out", str(folder.parent / "data")]
    outcome = CliRunner().invoke(cli.app, arguments)
    assert isinstance(outcome.exception, DataError)
    assert str(outcome.exception).startswith(str(path))
    assert fault in str(outcome.exception)
    assert [p.name for p in folder.parent.iterdir()] == ["custom"]


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        read_images(tmp_path)
    with pytest.raises(DataError, match="none is not a folder"):
        read_images(tmp_path / "none")


LIST = b"file_name,text\n"


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"cat.GIF": b"GIF89a"}, r"cat\.GIF is not read: save it as PNG, JPEG, WEBP"),
        ({"red-ring.txt": None}, r"red-ring\.png has no caption: write a \.txt"),
        ({"red-ring.txt": b" \n\n"}, r"red-ring\.txt is empty"),
        ({"red-ring.txt": b"un caf\xe9"}, r"red-ring\.txt cannot be read as UTF-8"),
        ({"red-ring.jpg": b""}, r"red-ring\.txt is beside red-ring\.jpg and red-ring\.png"),
        ({"captions.csv": LIST}, r"\.txt: captions\.csv has captions too"),
        ({"captions.csv": LIST, "metadata.jsonl": b""}, r"has captions\.csv and metadata\.jsonl"),
    ],
)
def test_wrong_file_is_named(folder: Path, files: dict[str, bytes | None], fault: str) -> None:
    for name, content in files.items():
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=fault):
        read_images(folder)


def test_images_without_captions_are_counted(folder: Path) -> None:
    without_texts(folder)
    with pytest.raises(DataError, match=r"black-circle\.png has no caption \(nor do 23 more\)"):
        read_images(folder)


@pytest.mark.parametrize(
    ("name", "lines", "fault"),
    [
        ("captions.csv", ["file_name,text", "lion.png,a lion"], "line 2: .* no image 'lion.png'"),
        ("captions.csv", ["file_name,text", "red-ring.png, "], "line 2: the caption .* is empty"),
        ("captions.csv", ["file_name,text", "red-ring.png,a ring, red"], "line 2: too many col"),
        ("captions.csv", ["file,caption", "red-ring.png,a ring"], "line 2: file_name and text"),
        ("captions.csv", ["file_name,text", *["red-ring.png,a"] * 2], "line 3: .*'a' already"),
        ("captions.csv", ["file_name,text"], "black-circle.png has no caption"),
        ("metadata.csv", ["file_name,text", "red-ring.png"], "line 2: file_name and text"),
        ("metadata.jsonl", ["", "{"], "line 2 is not JSON"),
        ("metadata.jsonl", ["[]"], "line 1: file_name and text"),
        ("metadata.jsonl", ['{"file_name": "red-ring.png", "text": 5}'], "line 1: .* must be text"),
        ("metadata.jsonl", ['{"file_name": "../custom/red-ring.png", "text": "a"}'], "no image"),
    ],
)
def test_wrong_line_in_a_list_is_named(
    folder: Path, name: str, lines: list[str], fault: str
) -> None:
    without_texts(folder)
    (folder / name).write_text("\n".join(lines))
    with pytest.raises(DataError, match=fault):
        read_images(folder)


def test_images_too_plain_for_the_codec_are_refused(tmp_path: Path) -> None:
    for level in (10, 200):
        Image.new("L", (64, 64), level).save(tmp_path / f"{level}.png")
        (tmp_path / f"{level}.txt").write_text(f"grey {level}")
    with pytest.raises(DataError, match=r"the 2 images in .* have 2 different 8×8 patches"):
        read_images(tmp_path)


def test_data_set_stays_as_it_was_where_reading_fails(folder: Path) -> None:
    out = folder.parent / "data"
    arguments = ["pictures", str(folder), "--out", str(out)]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    before = load_dataset(out).fingerprint
    (folder / "red-ring.png").write_bytes(b"")
    assert CliRunner().invoke(cli.app, arguments).exit_code == 1
    assert load_dataset(out).fingerprint == before
    assert sorted(path.name for path in out.iterdir()) == ["emoji.json", "pictures.npz"]
