"""How do scores rank segmentations? Every score of one segmentation from numbers kept per image.

NMI and ARI need a contingency table, keypoint regression a sum of distances. Kept for each test image, both can be
summed over any draw of images, which makes a bootstrap over images as cheap as adding small tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from partlib.data.base import PartDataset
from partlib.errors import DataError
from partlib.metrics import KeypointRegression, ari, contingency_table, nmi, part_centers

BATCH = 25
SCORES = ("fg_nmi", "fg_ari", "nmi", "ari", "error")


@dataclass(frozen=True)
class Judged:
    """One segmentation of a test set, counted per image.

    Attributes
    ----------
    tables : (N, R, C) int64, annotated parts by found parts, background first.
    distances : (N,) sum over visible keypoints of the distance to the regressed ones, in percent of the image side.
    counts : (N,) number of visible keypoints.
    """

    tables: np.ndarray
    distances: np.ndarray
    counts: np.ndarray

    def scores(self, pick: np.ndarray | None = None) -> dict[str, float]:
        """The :data:`SCORES` in percent over all images, or over ``pick`` (indices; repeated ones count repeatedly)."""
        pick = np.arange(len(self.tables)) if pick is None else pick
        table = self.tables[pick].sum(0)
        return {
            "fg_nmi": 100 * nmi(table[1:]),
            "fg_ari": 100 * ari(table[1:]),
            "nmi": 100 * nmi(table),
            "ari": 100 * ari(table),
            "error": float(self.distances[pick].sum()) / max(int(self.counts[pick].sum()), 1),
        }


def centers_of(labels: Tensor, num_parts: int) -> Tensor:
    """Centres (N, K, 2) in pixels of the parts 1..K of label maps (N, H, W); a missing part is in the middle."""
    numbers = torch.arange(1, num_parts + 1).view(1, -1, 1, 1)  # (1, K, 1, 1)
    return torch.cat([part_centers((batch[:, None] == numbers).float()) for batch in labels.split(BATCH)])


def keypoints_of(dataset: PartDataset) -> Tensor:
    """(N, M, 3) of a data set with keypoints."""
    found = [dataset[i].keypoints for i in range(len(dataset))]
    if any(points is None for points in found):
        raise DataError(f"data set {dataset.name!r} has no keypoints")
    return torch.stack([points for points in found if points is not None])


def judge(train_labels: Tensor, train_set: PartDataset, test_labels: Tensor, test_set: PartDataset) -> Judged:
    """Count what the scores need.

    The regression from part centres to keypoints is fitted to ``train_labels``; everything is measured on the test
    images.

    Parameters
    ----------
    train_labels, test_labels : (N, H, W) integers of one and the same method, 0 is background, 1..K are parts.
    train_set, test_set : samples with keypoints, the test set with annotated parts too, at the labels' size.

    Raises
    ------
    DataError : numbers of images that differ, or missing annotation.
    """
    for name, labels, dataset in (("training", train_labels, train_set), ("test", test_labels, test_set)):
        if len(labels) != len(dataset) or labels.shape[-1] != dataset.image_size:
            size = dataset.image_size
            raise DataError(f"{name} labels {tuple(labels.shape)}; expected ({len(dataset)}, {size}, {size})")
    num_parts = int(max(train_labels.max(), test_labels.max()))
    keypoints = keypoints_of(test_set).numpy()  # (N, M, 3)
    model = KeypointRegression().fit(centers_of(train_labels, num_parts), keypoints_of(train_set))
    predicted = model.predict(centers_of(test_labels, num_parts))  # (N, M, 2)
    counted = (keypoints[..., 2] > 0) & model.fitted  # (N, M)
    distance = 100 / test_set.image_size * np.linalg.norm(predicted - keypoints[..., :2], axis=-1)  # (N, M)
    return Judged(_tables(test_labels, test_set, num_parts), (distance * counted).sum(1), counted.sum(1))


def _tables(labels: Tensor, dataset: PartDataset, num_parts: int) -> np.ndarray:
    tables = []
    for i in range(len(dataset)):
        parts = dataset[i].parts
        if parts is None:
            raise DataError(f"data set {dataset.name!r} has no annotated parts")
        tables.append(contingency_table(labels[i].long(), parts, num_parts, len(dataset.part_names)).numpy())
    return np.stack(tables)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, -1 to 1."""
    from scipy.stats import spearmanr  # imported on use: it takes tens of megabytes

    return float(spearmanr(first, second).statistic)


def bootstrap(
    judged: Sequence[Judged],
    statistic: Callable[[list[dict[str, float]]], float],
    draws: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """A statistic of several segmentations with its interval over test images (percentile bootstrap).

    Parameters
    ----------
    judged : segmentations of the same test images.
    statistic : gets their scores in order.
    draws : number of times the test images are drawn anew, with replacement and for all segmentations alike.
    level : of the interval.

    Returns
    -------
    (value on the images themselves, lower end, upper end).
    """
    number = len(judged[0].tables)
    if any(len(one.tables) != number for one in judged):
        raise DataError("the segmentations have different numbers of images; expected the same test set for all")
    rng = np.random.default_rng(seed)
    picks = [rng.integers(0, number, number) for _ in range(draws)]
    values = [statistic([one.scores(pick) for one in judged]) for pick in picks]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return statistic([one.scores() for one in judged]), float(low), float(high)


def ordered_fraction(values: Sequence[float], higher_is_better: bool = True) -> float:
    """How well a score follows growing damage: fraction of all pairs whose less damaged one has the better value.

    Parameters
    ----------
    values : in order of growing damage. A tie counts one half.
    higher_is_better : False for an error.
    """
    if len(values) < 2:
        raise DataError(f"{len(values)} values; expected at least two to compare")
    pairs = [(values[i], values[j]) for i in range(len(values)) for j in range(i + 1, len(values))]
    signed = [(a - b) if higher_is_better else (b - a) for a, b in pairs]
    return sum(1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in signed) / len(signed)
