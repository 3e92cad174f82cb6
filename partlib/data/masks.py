"""Masks that come with a data set or from a network: annotators' votes, probabilities, or zeros and ones."""

from pathlib import Path

import numpy as np

from partlib.data.folder import read_values


def read_mask(path: Path, image: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A mask, (H, W) bool: 128 to 255 is foreground (at least half of the annotators, or of the probability); where a
    mask holds 0 and 1 only, 1 is.

    Raises
    ------
    DataError : as :func:`partlib.data.folder.read_values`.
    """
    values = read_values(path, image, shape)
    return values >= (128 if values.max() > 1 else 1)
