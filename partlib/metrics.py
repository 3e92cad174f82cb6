"""Scores for discovered parts: NMI and ARI from one streaming contingency table, and the two keypoint protocols.

Parts come without names, so predictions and annotations are compared as two *clusterings* of the same pixels. All that
the scores need is ``table[i, j]``, the number of pixels with target i and prediction j, however many pixels went in.
"""

from math import comb

import numpy as np
import torch
from scipy.special import entr, rel_entr
from torch import Tensor

CPU_CHUNK, GPU_CHUNK = 1 << 18, 1 << 26  # pixels counted at a time: what the cache holds / enough to fill a GPU
MAX_LABEL = 1023  # a larger label is a bug, not a part, and its table would fill the memory

Array = Tensor | np.ndarray


def contingency_table(
    prediction: Tensor, target: Tensor, num_predicted: int | None = None, num_target: int | None = None
) -> Tensor:
    """How often each target label (row) meets each predicted label (column): (num_target + 1, num_predicted + 1) int64.

    Labels are integers from 0 and of one shape; the numbers are the largest labels, by default those that occur.
    """
    assert prediction.shape == target.shape, f"prediction {prediction.shape} and target {target.shape} differ in shape"
    columns, rows = _largest(prediction, num_predicted) + 1, _largest(target, num_target) + 1
    # The narrowest type that holds rows * columns: reading and writing is most of the work.
    narrow = torch.uint8 if rows * columns < 256 else torch.int16 if rows * columns < 1 << 15 else torch.int32
    table = torch.zeros(rows * columns, dtype=torch.int64, device=target.device)
    chunk = CPU_CHUNK if target.device.type == "cpu" else GPU_CHUNK
    for predicted, wanted in zip(prediction.reshape(-1).split(chunk), target.reshape(-1).split(chunk), strict=True):
        cell = wanted.to(narrow) * columns + predicted.to(target.device, narrow)  # (<= chunk,)
        table += torch.bincount(cell, minlength=rows * columns)
    return table.view(rows, columns)  # (rows * columns,) -> (rows, columns)


def _largest(labels: Tensor, allowed: int | None) -> int:
    low, high = map(int, labels.aminmax()) if labels.numel() else (0, 0)
    right = not labels.is_floating_point() and 0 <= low <= high <= (MAX_LABEL if allowed is None else allowed)
    assert right, f"labels {low} to {high} of {labels.dtype}; expected integers from 0 to {allowed or MAX_LABEL}"
    return high if allowed is None else allowed


def nmi(table: Array) -> float:
    r"""Normalized mutual information of a contingency table; 1 where both entropies are 0.

    .. math:: \mathrm{NMI} = \frac{2\, I(T; P)}{H(T) + H(P)} \in [0, 1]
    """
    counts = np.asarray(table, dtype=np.int64)
    total = max(int(counts.sum()), 1)
    joint, rows, columns = counts / total, counts.sum(1) / total, counts.sum(0) / total
    entropies = entr(rows).sum() + entr(columns).sum()
    if entropies == 0:
        return 1.0
    information = rel_entr(joint, np.outer(rows, columns)).sum()
    return float(2 * information / entropies) if information > 1e-15 else 0.0  # independent up to rounding


def ari(table: Array) -> float:
    r"""Adjusted Rand index (Hubert and Arabie, 1985) of a contingency table: 0 at chance, 1 when equal.

    With S the pairs that both join, A and B those that either joins, N all pairs and E = A B / N

    .. math:: \mathrm{ARI} = \frac{S - E}{(A + B) / 2 - E}

    Numbers of pairs of pixels, multiplied, pass 2**63 from about 1e8 pixels; Python's integers are exact at any size.
    """
    counts = np.asarray(table, dtype=np.int64)
    sums = (counts.ravel(), counts.sum(1), counts.sum(0), counts.sum(keepdims=True)[0])
    both, in_rows, in_columns, pairs = (sum(comb(n, 2) for n in part.tolist()) for part in sums)
    # (both - expected) / ((in_rows + in_columns) / 2 - expected) with expected = in_rows * in_columns / pairs
    numerator = 2 * (both * pairs - in_rows * in_columns)
    denominator = (in_rows + in_columns) * pairs - 2 * in_rows * in_columns
    return numerator / denominator if denominator else 1.0


class PartScores:
    """NMI and ARI of all pixels of all images at once, as in the paper; ``table`` of counts grows with the labels."""

    def __init__(self) -> None:
        self.table = torch.zeros(1, 1, dtype=torch.int64)

    def update(self, prediction: Tensor, target: Tensor) -> "PartScores":
        """Count label maps of one shape: 0 is background, 1.. are parts."""
        return self.add(contingency_table(prediction, target))

    def add(self, table: Tensor) -> "PartScores":
        """Add the counts of other images, or of another process."""
        total = table.new_zeros([max(sizes) for sizes in zip(table.shape, self.table.shape, strict=True)])
        for part in (self.table.to(table.device), table):
            total[: part.shape[0], : part.shape[1]] += part
        self.table = total
        return self

    def compute(self) -> dict[str, float]:
        """Percent: "fg_nmi" and "fg_ari" over pixels whose **target** is foreground, "nmi" and "ari" over all pixels.

        Predicted background is one more cluster. NaN where there is no such pixel: 1 would read as a perfect score.
        """
        table, scores = self.table.cpu(), {}
        for prefix, part in (("fg_", table[1:]), ("", table)):
            for name, measure in (("nmi", nmi), ("ari", ari)):
                scores[prefix + name] = 100 * measure(part) if part.any() else float("nan")
        return scores


def part_share(labels: Tensor, num_parts: int) -> Tensor:
    """Shares (K,) float64 of parts 1..K in the predicted foreground (all 0 without one); near 0 is a dead part."""
    counts = contingency_table(labels, torch.zeros_like(labels), num_parts)[0, 1:].double().cpu()  # (K,)
    return counts / counts.sum().clamp(min=1)


def part_moments(part_maps: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """Sums (B, K, 2) of x and y, and mass (B, K, 1), of part maps (B, K, H, W); the first pixel lies at ``first``."""
    xs, ys = (torch.arange(first, first + n).to(part_maps) for n in (part_maps.shape[3], part_maps.shape[2]))
    moments = torch.stack([part_maps.sum(2) @ xs, part_maps.sum(3) @ ys], dim=-1)  # (B, K, 2)
    return moments, part_maps.sum((2, 3))[..., None]


def part_centers(part_maps: Tensor) -> Tensor:
    """Centers of mass (B, K, 2) ``(x, y)`` in pixels of part maps (B, K, H, W); an empty part lies in the middle."""
    moments, mass = part_moments(part_maps)
    middle = moments.new_tensor([(part_maps.shape[3] - 1) / 2, (part_maps.shape[2] - 1) / 2])
    return torch.where(mass > 0, moments / mass.clamp(min=torch.finfo(mass.dtype).tiny), middle)


class KeypointRegression:
    """Linear map from part centers (N, K, 2) to keypoints (N, M, 2), one least-squares problem per keypoint.

    Both are standardized on the images in which the keypoint is visible; no intercept (after Thewlis et al., 2017).
    """

    def fit(self, centers: Array, keypoints: Array) -> "KeypointRegression":
        """Keypoints (N, M, 3) are ``(x, y, visible)``; one seen in fewer than two images is not ``fitted`` (M,)."""
        inputs = np.asarray(centers, np.float64).reshape(len(centers), -1)  # (N, K, 2) -> (N, 2K)
        targets, visible = np.asarray(keypoints, np.float64)[..., :2], np.asarray(keypoints)[..., 2] > 0
        self.fitted = visible.sum(0) >= 2
        self.weights = np.zeros((len(self.fitted), inputs.shape[1], 2))  # (M, 2K, 2)
        self.offsets = np.zeros((len(self.fitted), 2))
        for k in np.flatnonzero(self.fitted):
            x, y = inputs[visible[:, k]], targets[visible[:, k], k]
            x_std, y_std = (np.where(v.std(0) > 0, v.std(0), 1.0) for v in (x, y))  # what never moves tells nothing
            weights, *_ = np.linalg.lstsq((x - x.mean(0)) / x_std, (y - y.mean(0)) / y_std, rcond=None)  # (2K, 2)
            self.weights[k] = weights * y_std / x_std[:, None]
            self.offsets[k] = y.mean(0) - x.mean(0) @ self.weights[k]
        return self

    def predict(self, centers: Array) -> np.ndarray:
        inputs = np.asarray(centers, np.float64).reshape(len(centers), -1)  # (N, K, 2) -> (N, 2K)
        return np.einsum("nd,mdc->nmc", inputs, self.weights) + self.offsets


def keypoint_regression_error(
    train_centers: Array,
    train_keypoints: Array,
    test_centers: Array,
    test_keypoints: Array,
    train_boxes: Array | float = 1.0,
    test_boxes: Array | float | None = None,
) -> float:
    """Mean distance of regressed and annotated visible keypoints in percent of the box side (the paper's table 1).

    Centers (N, K, 2), keypoints (N, M, 3) and boxes (N, 4) ``(left, top, width, height)``, or the side of all images.
    """
    test_boxes = train_boxes if test_boxes is None else test_boxes
    keypoints = _in_box(test_keypoints, test_boxes)
    model = KeypointRegression().fit(_in_box(train_centers, train_boxes), _in_box(train_keypoints, train_boxes))
    distance = np.linalg.norm(model.predict(_in_box(test_centers, test_boxes)) - keypoints[..., :2], axis=-1)  # (N, M)
    counted = (keypoints[..., 2] > 0) & model.fitted
    assert counted.any(), "no visible keypoint to score in the test images"
    return float(100 * distance[counted].mean())


def _in_box(points: Array, boxes: Array | float) -> np.ndarray:
    """Points (N, P, 2 or 3) in units of the sides of the boxes, from their corners."""
    result, boxes = np.asarray(points, np.float64).copy(), np.asarray(boxes, np.float64)
    corner, side = (boxes[:, None, :2], boxes[:, None, 2:]) if boxes.ndim else (0.0, boxes)  # (N, 1, 2)
    result[..., :2] = (result[..., :2] - corner) / side
    return result


def keypoint_labels(labels: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (B, H, W) as a clustering of the P visible keypoints (B, M, 3): prediction and target, (P,) int64 each.

    The prediction is the nearest pixel's, 0 outside the image; the target is 1 + the index of the keypoint.
    """
    height, width = labels.shape[-2:]
    image, index = torch.nonzero(keypoints[..., 2] > 0, as_tuple=True)  # (P,), (P,)
    x, y = keypoints[image, index, :2].round().long().unbind(-1)  # (P,), (P,)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = labels[image, y.clamp(0, height - 1), x.clamp(0, width - 1)].long()
    return torch.where(inside, found, 0), index + 1
