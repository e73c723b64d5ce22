"""A drawing's colour and shape are told apart from each other, and from the background."""

import numpy as np
import pytest

from model_export.colours import HUES, dominant_colour, silhouettes
from model_export.gallery import load_gallery
from model_export.measures import Pictures


def square(*colours: tuple[int, int, int]) -> Pictures:
    """Return one picture: bands of colours on white, the first twice as high as the others."""
    picture = np.full((1, 32, 32, 3), 255, np.uint8)
    picture[0, 4:12, 4:28] = colours[0]
    for i, colour in enumerate(colours[1:]):
        picture[0, 12 + 4 * i : 16 + 4 * i, 4:28] = colour
    return picture


def test_hearts_have_the_colour_that_they_are_named_for() -> None:
    gallery = load_gallery()
    pictures = {
        gallery.emoji[i].labels["en"]: picture
        for i, picture in zip(gallery.trained, gallery.pictures, strict=True)
    }
    for word in HUES:
        assert dominant_colour(pictures[f"{word} heart"]) == word


@pytest.mark.parametrize("level", [0, 90, 255])
def test_grey_has_no_colour(level: int) -> None:
    assert dominant_colour(square((level, level, level))[0]) is None


def test_most_pixels_decide() -> None:
    red, blue = (220, 20, 30), (20, 90, 220)
    assert dominant_colour(square(red, blue)[0]) == "red"
    assert dominant_colour(square(blue, red)[0]) == "blue"
    assert dominant_colour(square((250, 20, 22), (0, 0, 0), (0, 0, 0), (0, 0, 0))[0]) == "red"


def test_hue_goes_round() -> None:
    assert dominant_colour(square((220, 20, 30))[0]) == "red"  # 357 degrees
    assert dominant_colour(square((220, 30, 20))[0]) == "red"  # 3 degrees


def test_silhouette_does_not_hang_on_colour() -> None:
    shapes = silhouettes(square((220, 20, 30)))
    assert np.array_equal(shapes, silhouettes(square((250, 220, 40))))
    assert np.array_equal(shapes, silhouettes(square((10, 10, 10))))
    assert set(np.unique(shapes)) == {0, 255}
    assert np.array_equal(silhouettes(np.full((1, 32, 32, 3), 240, np.uint8)).min(), 255)
