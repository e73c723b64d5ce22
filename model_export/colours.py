"""Whether a drawing has the colour and the shape asked for.

Pictures are (N, H, W, 3) uint8.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.measures import Pictures

# In degrees, of Noto's hearts: it is from them that a model of its emoji knows these words.
HUES = {"red": 2, "orange": 35, "yellow": 44, "green": 89, "blue": 209, "purple": 291, "pink": 336}
INK = 232
"""A pixel with a channel below this is no background."""


def dominant_colour(picture: NDArray[np.uint8]) -> str | None:
    """Return the colour word nearest in hue to most of a picture's saturated pixels.

    Saturated are pixels that are at least 30 % saturated and 30 % bright in HSV, which white, grey
    and black are not. None where there is no such pixel.
    """
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(picture).convert("HSV")), -1, 0)
    degrees = hue[(saturation >= 0.3 * 255) & (value >= 0.3 * 255)] * (360 / 256)
    if not len(degrees):
        return None
    apart = np.abs(degrees[:, None] - np.array(list(HUES.values())))
    nearest = np.minimum(apart, 360 - apart).argmin(1)
    return list(HUES)[np.bincount(nearest, minlength=len(HUES)).argmax()]


def silhouettes(pictures: Pictures) -> Pictures:
    """Return each picture's shape alone: black where there is ink, white elsewhere."""
    ink = pictures.min(-1, keepdims=True) < INK
    return np.where(ink, np.uint8(0), np.uint8(255)).repeat(3, -1)
