"""Pictures are turned to the colour asked for, in the pixels that have their main hue."""

import numpy as np
import pytest

from model_export.data.hues import HUES, Picture, dominant_colour, turned
from model_export.evaluation.gallery import load_gallery

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
RED, GREEN, BLUE, BROWN = (230, 20, 30), (90, 200, 30), (20, 90, 230), (110, 60, 20)


def square(*colours: tuple[int, int, int]) -> Picture:
    """Return bands of colours on white, the first three times as high as the others."""
    image = np.full((32, 32, 3), 255, np.uint8)
    image[2:14, 4:28] = colours[0]
    for i, colour in enumerate(colours[1:]):
        image[14 + 4 * i : 18 + 4 * i, 4:28] = colour
    return image


@pytest.mark.parametrize("colour", [RED, GREEN, BLUE])
def test_a_picture_comes_in_every_colour(colour: tuple[int, int, int]) -> None:
    image = square(colour)
    found = turned(image)
    assert list(found) == list(HUES)
    assert {word: dominant_colour(picture) for word, picture in found.items()} == {
        word: word for word in HUES
    }
    own = dominant_colour(image)
    assert own is not None
    assert found[own] is image


def test_white_black_and_distant_hues_stay_as_they_are() -> None:
    image = square(RED, GREEN, BLACK)
    blue = turned(image)["blue"]
    assert dominant_colour(blue) == "blue"
    assert np.array_equal(blue[18:], image[18:])
    assert np.array_equal(blue[:2], image[:2])
    assert dominant_colour(blue[14:18]) == "green"


@pytest.mark.parametrize(
    "image",
    [
        square(BLACK),
        square(WHITE),
        square(BROWN),
        square(RED, GREEN, BLUE, BLACK, (230, 220, 20)),
        square(RED, BLACK, BLACK, BLACK, BLACK),
    ],
    ids=["black", "nothing", "brown", "many hues", "mostly black"],
)
def test_a_picture_without_one_bright_hue_is_not_turned(image: Picture) -> None:
    assert turned(image) == {}


def test_turned_emoji_have_the_colour_that_they_are_filed_under() -> None:
    gallery = load_gallery()
    found = [turned(image) for image in gallery.images[::5]]
    assert sum(bool(colours) for colours in found) > 40
    for colours in found:
        for word, picture in colours.items():
            assert dominant_colour(picture) == word


def test_hearts_have_the_colour_that_they_are_named_for() -> None:
    gallery = load_gallery()
    images = dict(zip(gallery.prompts("en"), gallery.images, strict=True))
    for word in HUES:
        assert dominant_colour(images[f"{word} heart"]) == word


@pytest.mark.parametrize(
    ("colours", "expected"),
    [
        ([BLACK], None),
        ([(90, 90, 90)], None),
        ([(255, 255, 255)], None),
        ([RED, BLUE], "red"),  # most pixels decide
        ([BLUE, RED], "blue"),
        ([(250, 20, 22), BLACK, BLACK, BLACK], "red"),
        ([(220, 30, 20)], "red"),  # 3 degrees, where RED is at 357
    ],
)
def test_dominant_colour(colours: list[tuple[int, int, int]], expected: str | None) -> None:
    assert dominant_colour(square(*colours)) == expected
