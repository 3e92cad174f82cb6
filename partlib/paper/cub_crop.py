"""Geometry of a CUB crop: from the bird's box to a square, and pixels and keypoints with it.

``perturb_box`` and ``square_box`` decide which square is cut out, for every preset. The other functions bring pixels
and keypoints into it the way the release does, to the digit; :func:`partlib.data.cub.load` uses them on request only,
because they shift keypoints by half a pixel.
"""

from collections.abc import Sequence

import numpy as np

from partlib.data.prepare import crop_square

# CUB's 15 keypoints when left and right change places: the eyes (6, 10), legs (7, 11) and wings (8, 12).
MIRRORED = (0, 1, 2, 3, 4, 5, 10, 11, 12, 9, 6, 7, 8, 13, 14)
OUTSIDE = 1  # value (of 255) of the release's pixels beyond the edge of the photograph

Square = tuple[int, int, int]


def perturb_box(
    box: Sequence[float] | np.ndarray,
    padding: float,
    jitter: float = 0.0,
    draws: Sequence[float] | np.ndarray = (0.5,) * 4,
) -> np.ndarray:
    """Widen a box and move its four sides at random, as the release does.

    Parameters
    ----------
    box : ``(x0, y0, x1, y1)``, the first and the last pixel in each direction, both inside.
    padding : added on each side, as a fraction of the box's width or height.
    jitter : each side moves by up to this fraction more, outwards (draw 0) or inwards (draw 1).
    draws : four numbers in [0, 1), for x0, y0, x1, y1.

    Returns
    -------
    (4,) float64, ``(x0, y0, x1, y1)``.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    sides = np.array([width, height, width, height])
    outwards = np.array([-1.0, -1.0, 1.0, 1.0])
    return np.array([x0, y0, x1, y1]) + outwards * sides * (padding + (1 - 2 * np.asarray(draws, float)) * jitter)


def square_box(box: Sequence[float] | np.ndarray) -> Square:
    """Smallest square ``(left, top, side)`` in whole pixels around ``(x0, y0, x1, y1)``, on the same centre.

    Halves are rounded to even numbers, as Python and the release do. The square may reach over the edge of the image.
    """
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    side = max(width, height)
    return x0 - round((side - width) / 2), y0 - round((side - height) / 2), side


def release_crop(image: np.ndarray, square: Square) -> np.ndarray:
    """Cut ``square`` out of a photograph (H, W, 3) uint8; outside of it every channel is 1, as in the release."""
    beyond = crop_square(np.ones(image.shape[:2], bool), square, "zero")  # (side, side), false outside
    return np.where(beyond[..., None], crop_square(image, square, "zero"), np.uint8(OUTSIDE))


def crop_keypoints(keypoints: np.ndarray, square: Square, size: int) -> np.ndarray:
    """Keypoints of a photograph in the pixels of its crop.

    Parameters
    ----------
    keypoints : (N, 3) ``(x, y, visible)`` in pixels of the photograph, 0 at the centre of the first pixel.
    square : ``(left, top, side)`` of the crop in the photograph.
    size : side of the resized crop in pixels.

    Returns
    -------
    (N, 3) float64, again with 0 at the centre of the first pixel. Invisible ones are put at the centre of the crop.
    """
    left, top, side = square
    moved = np.array(keypoints, float)
    moved[:, :2] = (moved[:, :2] - (left, top) + 0.5) * size / side - 0.5
    moved[moved[:, 2] == 0, :2] = (size - 1) / 2
    return moved


def normalise_keypoints(keypoints: np.ndarray, square: Square) -> np.ndarray:
    """The release's keypoints in the crop: ``2 (x - left) / side - 1``, half a pixel up and left of the true place.

    Parameters and shapes as in :func:`crop_keypoints`; the result is in [-1, 1] and invisible keypoints are 0.
    """
    left, top, side = square
    normalised = np.array(keypoints, float)
    normalised[:, :2] = 2 * (normalised[:, :2] - (left, top)) / side - 1
    normalised[normalised[:, 2] == 0, :2] = 0
    return normalised


def mirror_keypoints(normalised: np.ndarray, size: int, order: Sequence[int] = MIRRORED) -> np.ndarray:
    """Normalised keypoints (N, 3) of the mirrored crop, as in the release: ``size - 1 - x`` in pixels, left and right
    exchanged, invisible ones still 0."""
    mirrored = np.array(normalised, float)
    pixels = (mirrored[:, 0] + 1) / 2 * size
    mirrored[:, 0] = 2 * (size - 1 - pixels) / size - 1
    mirrored[mirrored[:, 2] == 0, :2] = 0
    return mirrored[list(order)]
