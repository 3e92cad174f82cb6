"""Where parts meet: how close the found borders come to the annotated ones, and how parts fare beside them.

Only borders *between* parts count. The outline of the object comes from the mask, which is given.
"""

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from partlib.errors import ConfigError, DataError
from partlib.metrics import PartScores


def border_pixels(labels: Tensor) -> Tensor:
    """Pixels of a part with a pixel of another part to the left, right, above or below: (N, H, W) bool.

    ``labels`` is (N, H, W) or (H, W), 0 is background. A straight border is two pixels wide, one on each side.
    """
    border = torch.zeros(labels.shape, dtype=torch.bool)
    for axis in (-2, -1):
        size = labels.shape[axis] - 1
        first, second = labels.narrow(axis, 0, size), labels.narrow(axis, 1, size)
        meeting = (first != second) & (first > 0) & (second > 0)
        border.narrow(axis, 0, size).logical_or_(meeting)
        border.narrow(axis, 1, size).logical_or_(meeting)
    return border


def border_distance(labels: Tensor) -> Tensor:
    """Distance (N, H, W) float32 in pixels from each pixel to the nearest border of the same image; inf without one."""
    distances = []
    for border in border_pixels(labels):
        away = np.full(border.shape, np.inf)
        if border.any():
            away = distance_transform_edt(~border.numpy())
        distances.append(torch.from_numpy(away).float())
    return torch.stack(distances)  # (N, H, W)


def border_scores(labels: Tensor, truth: Tensor, reach: float = 4, tolerance: float = 2) -> dict[str, float]:
    """How well parts agree with the annotated ones at borders, pooled over images, in percent or pixels.

    Parameters
    ----------
    labels, truth : (N, H, W) integers, found and annotated, 0 is background.
    reach : pixels up to this distance from an annotated border are "near" it, the rest of the object is "far".
    tolerance : found and annotated border pixels no further apart than this agree.

    Returns
    -------
    dict with

    * "near_nmi", "far_nmi": FG-NMI of the pixels near annotated borders, and of the others;
    * "precision": found border pixels that an annotated border agrees with. "chance": the same of all pixels of the
      object, which is what borders at random places reach. "recall": annotated border pixels that a found border agrees
      with; low with few parts;
    * "distance": mean distance in pixels from a found border to the nearest annotated one.

    NaN where there is no such pixel.

    Raises
    ------
    DataError : shapes differ.
    ConfigError : a negative distance.
    """
    if labels.shape != truth.shape or labels.ndim != 3:
        raise DataError(f"labels are {tuple(labels.shape)}, truth is {tuple(truth.shape)}; expected (N, H, W) of both")
    if reach < 0 or tolerance < 0:
        raise ConfigError(f"reach is {reach} and tolerance {tolerance}; expected distances in pixels, at least 0")
    labels, truth = labels.long(), truth.long()
    to_truth, to_found = border_distance(truth), border_distance(labels)  # (N, H, W)
    found, annotated, inside = border_pixels(labels), border_pixels(truth), truth > 0
    near = to_truth <= reach
    # a distance is measured only where the image has an annotated border
    away = to_truth[found & to_truth.isfinite()]
    return {
        "near_nmi": PartScores().update(labels[near & inside], truth[near & inside]).compute()["fg_nmi"],
        "far_nmi": PartScores().update(labels[~near & inside], truth[~near & inside]).compute()["fg_nmi"],
        "precision": _percent(to_truth[found] <= tolerance),
        "chance": _percent(to_truth[inside] <= tolerance),
        "recall": _percent(to_found[annotated] <= tolerance),
        "distance": float(away.mean()) if len(away) else float("nan"),
    }


def _percent(holds: Tensor) -> float:
    return 100 * float(holds.double().mean()) if len(holds) else float("nan")
