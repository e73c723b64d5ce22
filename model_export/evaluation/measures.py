"""How close drawings are to their reference images, and how clean.

Images are (N, H, W, 3) uint8.
"""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Array = NDArray[np.float64]
THUMBNAIL = 16


def thumbnails(images: Images) -> NDArray[np.float32]:
    """Return each image averaged to 16×16 pixels and flattened, (N, 768), 0..255."""
    count, height, width, _ = images.shape
    blocks = images.reshape(count, THUMBNAIL, height // THUMBNAIL, THUMBNAIL, width // THUMBNAIL, 3)
    small: NDArray[np.float32] = blocks.mean((2, 4), dtype=np.float32).reshape(count, -1)
    return small


def ranks(
    drawn: Images, gallery: NDArray[np.float32], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many of the gallery are nearer to each drawing than the wanted one, (N,)."""
    small = thumbnails(drawn)
    result = np.empty(len(drawn), np.int64)
    for i, (one, index) in enumerate(zip(small, wanted, strict=True)):
        distances = np.square(gallery - one).sum(1)
        result[i] = int((distances < distances[index]).sum())
    return result


def psnr_db(drawn: Images, reference: Images) -> Array:
    """Return the peak signal-to-noise ratio of each drawing, dB, (N,)."""
    error = (drawn.astype(np.float64) - reference) / 255
    mean: Array = np.maximum(np.square(error).mean((1, 2, 3)), 1e-10)
    return -10 * np.log10(mean)


def high_frequency(images: Images) -> float:
    """Return the mean absolute second difference, both ways, of grey levels: edges and speckle."""
    grey = images.mean(-1, dtype=np.float64) / 127.5
    across = grey[:, :, :-2] - 2 * grey[:, :, 1:-1] + grey[:, :, 2:]
    both = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
    return float(np.abs(both).mean() / 4)


def speckle(drawn: Images, reference: Images, margin: int = 2) -> float:
    """Return how far drawings are from white where the reference is white, in levels of 255.

    Only pixels with nothing but white within ``margin`` of them count. It is the median over
    images, so that the ink of one drawn in another shape does not pass for speckle.
    """
    ink = np.asarray(reference < 255).max(-1)
    white = ~_spread(ink, margin)
    faults = [
        float(255 - image[mask].mean(dtype=np.float64))
        for image, mask in zip(drawn, white, strict=True)
        if mask.any()
    ]
    return float(np.median(faults)) if faults else 0.0


def diversity(drawn: Images, seeds: int) -> float:
    """Return how much a prompt's drawings differ: a pixel's standard deviation over the seeds.

    Drawings are (seeds·M, …), all of one seed before the next seed's. The result is in levels of
    255, the mean over pixels and prompts.
    """
    apart = drawn.reshape(seeds, -1, *drawn.shape[1:]).astype(np.float32)
    return float(apart.std(0, ddof=1).mean(dtype=np.float64))


def _spread(mask: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    padded = np.pad(mask, ((0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * margin + 1,) * 2, axis=(1, 2))
    result: NDArray[np.bool_] = windows.max((-1, -2))
    return result
