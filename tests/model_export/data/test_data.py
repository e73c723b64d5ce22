"""Images and labels are checked before anything is trained on them."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from model_export.data.data import (
    CaptionedImage,
    Dataset,
    build_dataset,
    load_dataset,
    save_dataset,
)
from model_export.data.font import EmojiFont
from model_export.data.labels import Emoji, read_labels
from model_export.errors import DataError
from tests.model_export.examples import toy_dataset, toy_emoji

noto = pytest.mark.needs("fonts-noto-color-emoji", "libraqm")


def emoji_of(dataset: Dataset) -> list[Emoji]:
    return [example for example in dataset.examples if isinstance(example, Emoji)]


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
def test_broken_and_missing_labels_are_refused(tmp_path: Path, content: str) -> None:
    folder = write_labels(tmp_path)
    (folder / "zh" / "data.json").write_text(content)
    with pytest.raises(DataError, match=r"zh/data\.json"):
        read_labels(folder)
    for source in (tmp_path / "none", tmp_path / "none.tgz"):
        with pytest.raises(DataError, match=r"data\.json"):
            read_labels(source)


@pytest.mark.needs("libraqm")
def test_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "font.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(DataError, match="colour font"):
        EmojiFont(path)


@noto
def test_font_draws_sequences_as_one_image() -> None:
    font = EmojiFont()
    for text in ("❤️", "🐅", "🏴‍☠️", "🇨🇭", "👩‍🚀"):
        image = font.draw(text, 64)
        assert image is not None, text
        assert image.shape == (64, 64, 3)
        assert image.min() < 200
        assert (image[0] == 255).all()  # the glyph is wide, not tall


@noto
def test_font_gives_no_image_of_what_it_does_not_know() -> None:
    font = EmojiFont()
    for text in ("🐅🐋", "🐅‍🐋", "a"):
        assert font.draw(text, 64) is None, text


@noto
def test_blank_and_doubled_images_are_left_out() -> None:
    tiger = toy_emoji(2, text="🐅")
    twin = toy_emoji(3, text="🐅")
    blank = toy_emoji(4, text="  ")
    heart = toy_emoji(0, text="❤️")
    dataset = build_dataset([tiger, twin, blank, heart], EmojiFont())
    assert [e.hexcode for e in emoji_of(dataset)] == [tiger.hexcode, heart.hexcode]
    with pytest.raises(DataError, match="none"):
        build_dataset([blank], EmojiFont())


def test_data_set_survives_saving(tmp_path: Path) -> None:
    dataset = toy_dataset()
    save_dataset(dataset, tmp_path)
    loaded = load_dataset(tmp_path)
    assert loaded.examples == dataset.examples
    assert np.array_equal(loaded.images, dataset.images)
    assert loaded.fingerprint == dataset.fingerprint


def test_captioned_images_survive_saving_in_both_formats(tmp_path: Path) -> None:
    examples = (CaptionedImage("a.png", ("a cat", "cat")), CaptionedImage("b.png", ("a dog",)))
    save_dataset(Dataset(examples, toy_dataset().images[:2]), tmp_path)
    assert load_dataset(tmp_path).examples == examples
    former = [
        {"hexcode": e.name, "text": "", "group": -1, "order": i, "version": 0.0,
         "labels": {"caption": e.captions[0]}, "tags": {"caption": e.captions[1:]}}
        for i, e in enumerate(examples)
    ]  # fmt: skip
    (tmp_path / "emoji.json").write_text(json.dumps(former))
    assert load_dataset(tmp_path).examples == examples


@pytest.mark.parametrize("name", ["pictures.npz", "emoji.json", "a pickle"])
def test_broken_data_set_is_refused(tmp_path: Path, name: str) -> None:
    save_dataset(toy_dataset(), tmp_path)
    if name == "a pickle":
        np.savez(tmp_path / "pictures.npz", pictures=np.array([{"a": 1}], dtype=object))
    else:
        (tmp_path / name).write_bytes(b"PK broken")
    with pytest.raises(DataError, match="data set"):
        load_dataset(tmp_path)


def test_images_and_labels_must_match() -> None:
    dataset = toy_dataset()
    with pytest.raises(DataError, match="images"):
        Dataset(dataset.examples[:3], dataset.images)


def test_other_pixels_give_another_fingerprint() -> None:
    dataset = toy_dataset()
    images = dataset.images.copy()
    images[0, 0, 0, 0] -= 1
    assert Dataset(dataset.examples, images).fingerprint != dataset.fingerprint


def test_hearts_come_first_then_the_oldest_of_each_group() -> None:
    emoji = list(toy_dataset().examples)
    emoji[2] = toy_emoji(2, version=15.0)
    dataset = Dataset(tuple(emoji), toy_dataset().images)
    names = [e.labels["en"] for e in emoji_of(dataset.trained(5))]
    assert names == ["red heart", "green heart", "whale", "apple", "banana"]
    assert "grinning face" not in [e.labels["en"] for e in emoji_of(dataset.trained(7))]
    assert len(dataset.trained(8)) == 8
    with pytest.raises(DataError, match="not 9"):
        dataset.trained(9)
