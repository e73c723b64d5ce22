"""Pictures and labels are checked before anything is trained on them."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from model_export.data import Dataset, build_dataset, load_dataset, save_dataset
from model_export.errors import DataError
from model_export.font import EmojiFont
from model_export.labels import read_labels
from tests.model_export.examples import toy_dataset, toy_emoji

noto = pytest.mark.needs("fonts-noto-color-emoji", "libraqm")


def write_labels(folder: Path) -> Path:
    entries: dict[str, list[dict[str, object]]] = {
        "en": [
            {"hexcode": "2764", "emoji": "❤️", "label": "red heart", "tags": ["love"], "group": 0},
            {"hexcode": "1F405", "emoji": "🐅", "label": "tiger", "group": 3},
            {"hexcode": "1F1E6", "emoji": "🇦", "label": "regional indicator A"},
            {"hexcode": "1F40B", "emoji": "🐋", "label": "whale", "group": 3},
        ],
        "zh": [
            {"hexcode": "2764", "label": "红心", "tags": ["爱"]},
            {"hexcode": "1F405", "label": "老虎"},
            {"hexcode": "1F1E6", "label": "A"},
        ],
    }
    for language, rows in entries.items():
        for order, row in enumerate(rows):
            row.update(order=order, version=1)
        (folder / language).mkdir(parents=True)
        (folder / language / "data.json").write_text(json.dumps(rows))
    return folder


def test_labels_need_a_group_and_both_languages(tmp_path: Path) -> None:
    emoji = read_labels(write_labels(tmp_path))
    assert [e.hexcode for e in emoji] == ["2764", "1F405"]
    assert emoji[0].labels == {"en": "red heart", "zh": "红心"}
    assert emoji[0].tags == {"en": ("love",), "zh": ("爱",)}
    assert emoji[1].tags == {"en": (), "zh": ()}


def test_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder = write_labels(tmp_path / "labels")
    archive = tmp_path / "labels.tgz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, "package")
    assert read_labels(archive) == read_labels(folder)


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '[{"label": "x"}]'])
def test_broken_labels_are_refused(tmp_path: Path, content: str) -> None:
    folder = write_labels(tmp_path)
    (folder / "zh" / "data.json").write_text(content)
    with pytest.raises(DataError, match=r"zh/data\.json"):
        read_labels(folder)


def test_missing_labels_are_refused(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "none.tgz"):
        with pytest.raises(DataError, match=r"data\.json"):
            read_labels(source)


def test_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(DataError, match="colour font"):
        EmojiFont(path)


@noto
def test_font_draws_sequences_as_one_picture() -> None:
    font = EmojiFont()
    for text in ("❤️", "🐅", "🏴‍☠️", "🇨🇭", "👩‍🚀"):
        picture = font.draw(text, 64)
        assert picture is not None, text
        assert picture.shape == (64, 64, 3)
        assert picture.min() < 200
        assert (picture[0] == 255).all()  # the glyph is wide, not tall


@noto
def test_font_gives_no_picture_of_what_it_does_not_know() -> None:
    font = EmojiFont()
    for text in ("🐅🐋", "🐅‍🐋", "a"):
        assert font.draw(text, 64) is None, text


@noto
def test_blank_and_doubled_pictures_are_left_out() -> None:
    tiger = toy_emoji(2, text="🐅")
    twin = toy_emoji(3, text="🐅")
    blank = toy_emoji(4, text="  ")
    heart = toy_emoji(0, text="❤️")
    dataset = build_dataset([tiger, twin, blank, heart], EmojiFont())
    assert [e.hexcode for e in dataset.emoji] == [tiger.hexcode, heart.hexcode]
    with pytest.raises(DataError, match="none"):
        build_dataset([blank], EmojiFont())


def test_data_set_survives_saving(tmp_path: Path) -> None:
    dataset = toy_dataset()
    save_dataset(dataset, tmp_path)
    loaded = load_dataset(tmp_path)
    assert loaded.emoji == dataset.emoji
    assert np.array_equal(loaded.pictures, dataset.pictures)
    assert loaded.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("name", ["pictures.npz", "emoji.json"])
def test_broken_data_set_is_refused(tmp_path: Path, name: str) -> None:
    save_dataset(toy_dataset(), tmp_path)
    (tmp_path / name).write_bytes(b"PK broken")
    with pytest.raises(DataError, match="data set"):
        load_dataset(tmp_path)


def test_pickled_pictures_are_refused(tmp_path: Path) -> None:
    save_dataset(toy_dataset(), tmp_path)
    np.savez(tmp_path / "pictures.npz", pictures=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="data set"):
        load_dataset(tmp_path)


def test_pictures_and_labels_must_match() -> None:
    dataset = toy_dataset()
    with pytest.raises(DataError, match="pictures"):
        Dataset(dataset.emoji[:3], dataset.pictures)


def test_other_pixels_give_another_fingerprint() -> None:
    dataset = toy_dataset()
    pictures = dataset.pictures.copy()
    pictures[0, 0, 0, 0] -= 1
    assert Dataset(dataset.emoji, pictures).fingerprint != dataset.fingerprint


def test_hearts_come_first_then_the_oldest_of_each_group() -> None:
    emoji = list(toy_dataset().emoji)
    emoji[2] = toy_emoji(2, version=15.0)
    dataset = Dataset(tuple(emoji), toy_dataset().pictures)
    names = [e.labels["en"] for e in dataset.trained(5).emoji]
    assert names == ["red heart", "green heart", "whale", "apple", "banana"]
    assert "grinning face" not in [e.labels["en"] for e in dataset.trained(7).emoji]
    assert len(dataset.trained(8)) == 8
    with pytest.raises(DataError, match="not 9"):
        dataset.trained(9)
