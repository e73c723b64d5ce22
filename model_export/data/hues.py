"""Colour words as hues: which one a picture shows most of, and a picture turned into another."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# In degrees, of Noto's hearts, from which a model of its emoji knows these words.
HUES = {"red": 2, "orange": 35, "yellow": 44, "green": 89, "blue": 209, "purple": 291, "pink": 336}
SATURATED = 0.3 * 255  # the least saturation and value, in HSV, of a pixel that has a colour
INK = 232  # a pixel with a channel below this is not background
NEAR = 60  # degrees: pixels nearer than this to a picture's main hue are turned with it
MOST = 0.6  # the least share of the ink, and of the saturated pixels, near the main hue
BRIGHT = 0.7 * 255  # the least mean value: darker orange is brown

Picture = NDArray[np.uint8]  # (H, W, 3)


def dominant_colour(image: Picture) -> str | None:
    """Return the colour word nearest in hue to most of an image's saturated pixels, if any.

    Those have at least 30 % saturation and value in HSV, unlike white, grey and black.
    """
    hue, saturated, _ = _hues(image)
    if not saturated.any():
        return None
    nearest = _apart(hue[saturated][:, None], np.array(list(HUES.values()))).argmin(1)
    return list(HUES)[np.bincount(nearest, minlength=len(HUES)).argmax()]


def turned(image: Picture) -> dict[str, Picture]:
    """Return the image in every colour that it can be turned to, its own unchanged among them.

    The pixels near its main hue are rotated until that hue is the colour word's. An image of many
    hues, of few saturated pixels or of a dark colour has none.
    """
    hue, saturated, value = _hues(image)
    if not saturated.any():
        return {}
    main = _middle(hue[saturated])
    near = saturated & (_apart(hue, main) < NEAR)
    whole = max(int(saturated.sum()), int((image.min(-1) < INK).sum()))
    if near.sum() < MOST * whole or value[near].mean() < BRIGHT:
        return {}
    main, own = _middle(hue[near]), dominant_colour(image)
    moved = _apart(hue, main) < NEAR
    found = {
        word: image if word == own else _rotated(image, degrees - main, moved)
        for word, degrees in HUES.items()
    }
    return {word: picture for word, picture in found.items() if dominant_colour(picture) == word}


def _rotated(image: Picture, degrees: float, moved: NDArray[np.bool_]) -> Picture:
    hsv = np.asarray(Image.fromarray(image).convert("HSV")).copy()
    hues = (hsv[..., 0].astype(np.int64) + round(degrees * 256 / 360)) % 256
    hsv[..., 0] = np.where(moved, hues, hsv[..., 0])
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


def _hues(image: Picture) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.uint8]]:
    """Return every pixel's hue in degrees, whether it is saturated, and its value."""
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(image).convert("HSV")), -1, 0)
    return hue * (360 / 256), (saturation >= SATURATED) & (value >= SATURATED), value


def _middle(hues: NDArray[np.float64]) -> float:
    """Return the circular mean of angles in degrees."""
    return float(np.degrees(np.angle(np.exp(1j * np.radians(hues)).sum())) % 360)


def _apart(hues: NDArray[np.float64], other: float | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance of angles in degrees, 0 to 180."""
    apart = np.abs(hues - other) % 360
    nearest: NDArray[np.float64] = np.minimum(apart, 360 - apart)
    return nearest
