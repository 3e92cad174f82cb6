"""Resizing as the release does it, to the digit: no antialiasing, and for 8-bit images in whole-number arithmetic.

Only ``reproduce_release=True`` uses this. Sampling without antialiasing drops pixels where an image shrinks; the
default of every data set averages over them (:mod:`partlib.data.prepare`).
"""

import numpy as np
from PIL import Image

BITS = 11  # of a weight in the 8-bit arithmetic


def _places(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``size`` cells: the pixels of ``length`` on both sides of its centre and the weight of the second."""
    place = ((np.arange(size) + 0.5) * (1 / (size / length)) - 0.5).clip(0, length - 1)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, length - 1), place - low


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of (H, W, C) to (height, width, C) float64, pixel centres at halves."""
    top, bottom, weight = _places(image.shape[0], height)
    rows = image[top] * (1 - weight)[:, None, None] + image[bottom] * weight[:, None, None]  # (height, W, C)
    left, right, weight = _places(image.shape[1], width)
    return rows[:, left] * (1 - weight)[:, None] + rows[:, right] * weight[:, None]


def resize_bilinear_8bit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same for uint8, with weights of 11 bits and intermediate values cut off, as image libraries do for speed.

    Results are up to one grey value lower than the rounded exact ones.
    """
    top, bottom, down = _places(image.shape[0], height)
    left, right, across = _places(image.shape[1], width)
    one, down, across = 1 << BITS, np.rint(down * (1 << BITS)).astype(int), np.rint(across * (1 << BITS)).astype(int)
    wide = image.astype(np.int64)
    rows = wide[:, left] * (one - across)[:, None] + wide[:, right] * across[:, None]  # (H, width, C), 19 bits
    upper = ((rows[top] >> 4) * (one - down)[:, None, None]) >> 16  # (height, width, C), 10 bits
    lower = ((rows[bottom] >> 4) * down[:, None, None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def resize_nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W) to (height, width) by reading, for each cell, the pixel under its upper left corner."""
    # The reciprocal of a rounded ratio decides where a corner falls on the border of two pixels.
    rows = (np.arange(height) * (1 / (height / labels.shape[0]))).astype(np.int64)
    columns = (np.arange(width) * (1 / (width / labels.shape[1]))).astype(np.int64)
    return labels[rows][:, columns]


def resize_labels_bilinear(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize labels (H, W) uint8 as if they were grey values: how the release's evaluation of whole DeepFashion images
    shrinks them. Between 0 and 12 it invents 1 and 11; use it for nothing but comparing with the release's numbers."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.BILINEAR))
