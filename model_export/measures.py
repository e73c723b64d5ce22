"""How close drawings are to the pictures they should be, and how clean.

Pictures are (N, H, W, 3) uint8.
"""

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Array = NDArray[np.float64]
THUMBNAIL = 16


def thumbnails(pictures: Pictures) -> NDArray[np.float32]:
    """Return each picture averaged to 16×16 pixels and flattened, (N, 768), 0..255."""
    count, height, width, _ = pictures.shape
    blocks = pictures.reshape(
        count, THUMBNAIL, height // THUMBNAIL, THUMBNAIL, width // THUMBNAIL, 3
    )
    small: NDArray[np.float32] = blocks.mean((2, 4), dtype=np.float32).reshape(count, -1)
    return small


def ranks(
    drawn: Pictures, gallery: NDArray[np.float32], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many of the gallery are nearer to each drawing than the one wanted, (N,)."""
    small = thumbnails(drawn)
    result = np.empty(len(drawn), np.int64)
    for i, (one, index) in enumerate(zip(small, wanted, strict=True)):
        distances = np.square(gallery - one).sum(1)
        result[i] = int((distances < distances[index]).sum())
    return result


def psnr_db(drawn: Pictures, reference: Pictures) -> Array:
    """Return the peak signal-to-noise ratio of each drawing, dB, (N,)."""
    error = (drawn.astype(np.float64) - reference) / 255
    mean: Array = np.maximum(np.square(error).mean((1, 2, 3)), 1e-10)
    return -10 * np.log10(mean)


def high_frequency(pictures: Pictures) -> float:
    """Return the mean size of the second difference both ways on grey: edges, and any speckle."""
    grey = pictures.mean(-1, dtype=np.float64) / 127.5
    across = grey[:, :, :-2] - 2 * grey[:, :, 1:-1] + grey[:, :, 2:]
    both = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
    return float(np.abs(both).mean() / 4)


def speckle(drawn: Pictures, reference: Pictures, margin: int = 2) -> float:
    """Return how far drawings are from white where the reference is, in levels of 255.

    It counts pixels with nothing but white within ``margin`` of them; the median over pictures, so
    that one drawn in another shape does not count its ink as speckle.
    """
    ink = np.asarray(reference < 255).max(-1)
    white = ~_spread(ink, margin)
    faults = [
        float(255 - picture[mask].mean(dtype=np.float64))
        for picture, mask in zip(drawn, white, strict=True)
        if mask.any()
    ]
    return float(np.median(faults)) if faults else 0.0


def diversity(drawn: Pictures, seeds: int) -> float:
    """Return how far one prompt's drawings differ: a pixel's standard deviation over the seeds.

    Drawings are (seeds·M, …), all prompts of a seed before the next seed's; the result is in levels
    of 255, the mean over pixels and prompts.
    """
    apart = drawn.reshape(seeds, -1, *drawn.shape[1:]).astype(np.float32)
    return float(apart.std(0, ddof=1).mean(dtype=np.float64))


def _spread(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, ((0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * margin + 1,) * 2, axis=(1, 2))
    result: NDArray[np.bool_] = windows.max((-1, -2))
    return result
