"""Scores for discovered parts: NMI and ARI from one streaming contingency table, and the share of each part.

Parts come without names, so predictions are compared with annotations as two *clusterings* of the same pixels. Both
scores ignore how clusters are numbered: NMI asks how much one label tells about the other, ARI how often two pixels
that share a label in one clustering share it in the other, against chance.

Everything the scores need is the contingency table ``table[i, j]`` = number of pixels with target i and prediction j.
It is a few hundred integers however many pixels went in, which is why a data set of any size fits in constant memory.

The keypoint protocols live in :mod:`partlib.keypoints` and are re-exported here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from partlib.errors import ConfigError, DataError
from partlib.keypoints import KeypointRegression, keypoint_labels, keypoint_regression_error, part_centers

__all__ = [
    "KeypointRegression",
    "PartScores",
    "ari",
    "contingency_table",
    "keypoint_labels",
    "keypoint_regression_error",
    "nmi",
    "part_centers",
    "part_share",
]

CHUNK = {"cpu": 1 << 18, "cuda": 1 << 26}  # pixels counted at a time: what the cache holds / enough to fill a GPU
MAX_LABEL = 1023  # a larger label is a bug, not a part, and its table would fill the memory


def contingency_table(
    prediction: Tensor, target: Tensor, num_predicted: int | None = None, num_target: int | None = None
) -> Tensor:
    """Count how often each target label meets each predicted label.

    Parameters
    ----------
    prediction, target : integer tensors of one shape, labels from 0.
    num_predicted, num_target : largest label of each, so that the table has ``num + 1`` columns (rows); found from
        the labels where None.

    Returns
    -------
    Tensor, (num_target + 1, num_predicted + 1) int64 on the device of ``target``.

    Raises
    ------
    DataError
        Where the shapes differ or a label is negative, too large or not an integer.
    """
    if prediction.shape != target.shape:
        raise DataError(
            f"prediction {tuple(prediction.shape)} and target {tuple(target.shape)} differ in shape; "
            "resize the label maps (nearest neighbour) to one size first"
        )
    columns = _number_of_labels(prediction, num_predicted, "prediction")
    rows = _number_of_labels(target, num_target, "target")
    # The narrowest type that holds rows * columns: reading and writing is most of the work.
    narrow = torch.uint8 if rows * columns < 256 else torch.int16 if rows * columns < 1 << 15 else torch.int32
    table = torch.zeros(rows * columns, dtype=torch.int64, device=target.device)
    chunk = CHUNK["cpu" if target.device.type == "cpu" else "cuda"]
    pairs = zip(prediction.reshape(-1).split(chunk), target.reshape(-1).split(chunk), strict=True)  # (<= chunk,)
    for predicted, wanted in pairs:
        cell = wanted.to(narrow) * columns + predicted.to(target.device, narrow)
        table += torch.bincount(cell, minlength=rows * columns)
    return table.view(rows, columns)  # (rows * columns,) -> (rows, columns)


def _number_of_labels(labels: Tensor, largest: int | None, name: str) -> int:
    """Number of rows or columns for ``labels``; checks that they are integers from 0 to ``largest``."""
    if labels.is_floating_point() or labels.is_complex():
        raise DataError(f"{name} has dtype {labels.dtype}; expected integer labels, 0 for background")
    allowed = MAX_LABEL if largest is None else largest
    if labels.numel() == 0:
        return 1 if largest is None else largest + 1
    low, high = torch.stack(list(labels.aminmax())).tolist()
    if low < 0 or high > allowed:
        raise DataError(f"{name} has labels from {int(low)} to {int(high)}; expected 0 to {allowed}")
    return int(high) + 1 if largest is None else largest + 1


def _as_array(table: Tensor | np.ndarray | Sequence) -> np.ndarray:
    """Contingency table -> (R, C) int64 array without empty rows and columns."""
    array = table.detach().cpu().numpy() if isinstance(table, Tensor) else np.asarray(table)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"a contingency table is a 2-d array of integers, not {array.dtype} of shape {array.shape}")
    array = array.astype(np.int64)
    return array[array.sum(1) > 0][:, array.sum(0) > 0]


def nmi(table: Tensor | np.ndarray | Sequence) -> float:
    """Normalised mutual information of two clusterings, arithmetic mean of the entropies.

    Equal to ``sklearn.metrics.normalized_mutual_info_score``, its corner cases included: 1 where both clusterings are
    one cluster (or there is nothing to cluster), 0 where one of them is or where they are independent.

    Parameters
    ----------
    table : (R, C) integers, ``contingency_table``.

    Returns
    -------
    float in [0, 1].
    """
    counts = _as_array(table)
    if counts.size == 0 or counts.shape == (1, 1):
        return 1.0
    joint = counts / counts.sum()  # float64: counts are exact up to 2**53
    rows, columns = joint.sum(1), joint.sum(0)
    i, j = np.nonzero(joint)
    information = float((joint[i, j] * (np.log(joint[i, j]) - np.log(rows[i]) - np.log(columns[j]))).sum())
    if information <= 4 * np.finfo(np.float64).eps:  # rounding of independent clusterings
        return 0.0
    return float(2 * information / (_entropy(rows) + _entropy(columns)))


def _entropy(probabilities: np.ndarray) -> float:
    return float(-(probabilities * np.log(probabilities)).sum())


def ari(table: Tensor | np.ndarray | Sequence) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985): agreement on pairs of pixels, 0 at chance, 1 when equal.

    Equal to ``sklearn.metrics.adjusted_rand_score`` and, unlike it, right for any number of pixels: pairs are counted
    in Python's unbounded integers and divided once. (The number of pairs squared passes 2**63 from about 1e8 pixels,
    where int64 arithmetic returns values such as -5.3.)

    Parameters
    ----------
    table : (R, C) integers, ``contingency_table``.

    Returns
    -------
    float in [-0.5, 1].
    """
    counts = _as_array(table)
    # ordered pairs of pixels (a pixel with itself included) that share target and prediction / target / prediction
    both = sum(n * n for n in counts.ravel().tolist())
    same_target = sum(n * n for n in counts.sum(1).tolist())
    same_prediction = sum(n * n for n in counts.sum(0).tolist())
    total = int(counts.sum())
    together = both - total  # in the same cluster twice, a pixel with itself excluded
    only_target, only_prediction = same_target - both, same_prediction - both
    apart = total * total - same_target - same_prediction + both
    if only_target == 0 and only_prediction == 0:
        return 1.0
    numerator = 2 * (together * apart - only_target * only_prediction)
    denominator = (together + only_target) * (only_target + apart) + (together + only_prediction) * (
        only_prediction + apart
    )
    return numerator / denominator  # division of Python integers is correctly rounded at any size


class PartScores:
    """NMI and ARI of predicted part labels, pooled over all pixels of all images.

    Counts go into one table on the device of the labels; ``compute`` reads it once. The scores are those of all pixels
    at once, never a mean over images or batches, as in the paper's evaluation.

    Parameters
    ----------
    num_predicted, num_target : int, optional
        Largest label (K parts: K). Without them the table grows with the labels it meets.

    Examples
    --------
    >>> scores = PartScores()
    >>> scores.update(torch.tensor([[0, 1], [2, 2]]), torch.tensor([[0, 5], [3, 3]])).compute()["fg_nmi"]
    100.0
    """

    def __init__(self, num_predicted: int | None = None, num_target: int | None = None) -> None:
        for name, value in (("num_predicted", num_predicted), ("num_target", num_target)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; expected the number of parts, at least 1")
        self.num_predicted, self.num_target = num_predicted, num_target
        self._table = torch.zeros((num_target or 0) + 1, (num_predicted or 0) + 1, dtype=torch.int64)

    @property
    def table(self) -> Tensor:
        """(targets, predictions) int64 counts; row and column 0 are background. Add over ranks to pool processes."""
        return self._table

    def update(self, prediction: Tensor, target: Tensor) -> "PartScores":
        """Count a batch of label maps.

        Parameters
        ----------
        prediction, target : (..., H, W) or flat integers of one shape; 0 is background, 1.. are parts.

        Returns
        -------
        PartScores, itself.
        """
        self._add(contingency_table(prediction, target, self.num_predicted, self.num_target))
        return self

    def merge(self, other: "PartScores") -> "PartScores":
        """Add the counts of ``other`` (another group of images, another process); returns itself."""
        self._add(other.table)
        return self

    def __add__(self, other: "PartScores") -> "PartScores":
        return PartScores().merge(self).merge(other)

    def _add(self, table: Tensor) -> None:
        if table.shape != self._table.shape:
            shape = [max(a, b) for a, b in zip(table.shape, self._table.shape, strict=True)]
            self._table, table = _pad(self._table, shape), _pad(table, shape)
        self._table = self._table.to(table.device) + table

    def compute(self) -> dict[str, float]:
        """The four scores in percent.

        Returns
        -------
        dict with "fg_nmi" and "fg_ari", over the pixels whose **target** is foreground (a pixel there that was
        predicted background counts as one more cluster), and "nmi" and "ari", over all pixels with background as a
        class on both sides. ``nan`` where there was no such pixel: scikit-learn's 1 for "nothing to compare" would
        read as a perfect score.
        """
        table = self._table.cpu()
        scores = {}
        for prefix, part in (("fg_", table[1:]), ("", table)):
            empty = int(part.sum()) == 0
            scores[f"{prefix}nmi"] = float("nan") if empty else 100 * nmi(part)
            scores[f"{prefix}ari"] = float("nan") if empty else 100 * ari(part)
        return scores


def _pad(table: Tensor, shape: Sequence[int]) -> Tensor:
    """``table`` with zero rows and columns added up to ``shape``."""
    padded = table.new_zeros(tuple(shape))
    padded[: table.shape[0], : table.shape[1]] = table
    return padded


def part_share(labels: Tensor | PartScores, num_parts: int) -> Tensor:
    """How the predicted foreground is divided among the parts; a share near 0 means a dead part.

    Parameters
    ----------
    labels : integer label maps of any shape (0 background, 1..K parts), or a :class:`PartScores`, whose table holds
        the predicted counts already.
    num_parts : K.

    Returns
    -------
    Tensor, (K,) float64 that sums to 1; zeros where nothing was predicted foreground.
    """
    if isinstance(labels, PartScores):
        counts = labels.table.sum(0)  # (predictions,)
    else:
        counts = contingency_table(labels, torch.zeros_like(labels), num_predicted=num_parts)[0]  # (K + 1,)
    if len(counts) > num_parts + 1 and bool(counts[num_parts + 1 :].any()):
        raise DataError(f"labels go up to {len(counts) - 1}; expected 0 to {num_parts} for {num_parts} parts")
    share = torch.zeros(num_parts, dtype=torch.float64)
    found = counts[1 : num_parts + 1].double().cpu()
    share[: len(found)] = found
    return share / share.sum().clamp(min=1)
