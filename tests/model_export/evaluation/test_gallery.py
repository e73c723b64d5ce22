"""The gallery comes back as it was saved, and the committed one is complete."""

from pathlib import Path

import numpy as np
import pytest

from model_export.errors import GalleryError
from model_export.evaluation.gallery import (
    EMOJI_GALLERY,
    load_gallery,
    make_gallery,
    save_gallery,
    tile,
)
from model_export.evaluation.measures import thumbnails
from tests.model_export.examples import toy_dataset


def test_gallery_survives_saving(tmp_path: Path) -> None:
    gallery = make_gallery(toy_dataset(), 5)
    save_gallery(gallery, tmp_path)
    loaded = load_gallery(tmp_path)
    assert loaded.examples == gallery.examples
    assert loaded.trained == gallery.trained == (0, 1, 2, 3, 4)
    assert np.array_equal(loaded.images, gallery.images)
    assert np.array_equal(loaded.thumbnails, gallery.thumbnails)


@pytest.mark.parametrize("name", ["gallery.json", "pictures.png", "thumbnails.png"])
def test_broken_gallery_is_refused(tmp_path: Path, name: str) -> None:
    save_gallery(make_gallery(toy_dataset(), 5), tmp_path)
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(GalleryError, match="gallery"):
        load_gallery(tmp_path)


def test_every_nth_keeps_images_and_places_together() -> None:
    gallery = make_gallery(toy_dataset(), 6).every(2)
    assert gallery.trained == (0, 2, 4)
    assert np.array_equal(gallery.images, toy_dataset().images[[0, 2, 4]])


def test_sheet_goes_row_by_row_and_ends_in_white() -> None:
    images = np.stack([np.full((2, 2, 3), level, np.uint8) for level in (10, 20, 30)])
    sheet = tile(images, 2)
    assert sheet[::2, ::2, 0].tolist() == [[10, 20], [30, 255]]


def test_committed_gallery_is_complete_and_small() -> None:
    gallery = load_gallery()
    assert (len(gallery.examples), len(gallery.trained)) == (1624, 640)
    assert len({e.prompts()["en"] for e in gallery.examples}) == 1624
    small = thumbnails(gallery.images)
    assert np.abs(small - gallery.thumbnails[list(gallery.trained)]).max() <= 0.5
    assert sum(path.stat().st_size for path in EMOJI_GALLERY.iterdir()) <= 4_000_000
