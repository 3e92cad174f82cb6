"""Parts measured with keypoints: part centres, keypoint regression, and the labels under the keypoints.

Where a data set has keypoints but no part masks (CUB-200-2011), two protocols are in use. *Regression*: how well a
linear map from the K part centres predicts the keypoints. *Clustering*: which part lies under each keypoint, scored
with NMI and ARI. The paper argues for the second: regression can be good for parts that mean nothing.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from partlib.errors import ConfigError, DataError


def part_centers(part_maps: Tensor, convention: Literal["pixel", "training", "evaluation"] = "pixel") -> Tensor:
    """Centre of mass of every part.

    The release computes centres in two ways that differ by one pixel; both are here so that its numbers can be
    reproduced.

    ================  ====================  =========================  =======================================
    convention        first pixel is at     mass divided by            used for
    ================  ====================  =========================  =======================================
    ``"pixel"``       0                     sum (image centre if 0)    everything new; same as our keypoints
    ``"training"``    0                     max(sum, 1)                the release's keypoint error in training
    ``"evaluation"``  1                     sum + 1e-8                 the release's CUB evaluation
    ================  ====================  =========================  =======================================

    Parameters
    ----------
    part_maps : (B, K, H, W) non-negative, softmax times foreground.
    convention : as above.

    Returns
    -------
    Tensor, (B, K, 2) ``(x, y)`` in pixels.
    """
    if part_maps.ndim != 4:
        raise DataError(f"part maps have shape {tuple(part_maps.shape)}; expected (B, K, H, W)")
    if convention not in ("pixel", "training", "evaluation"):
        raise ConfigError(f"convention is {convention!r}; expected 'pixel', 'training' or 'evaluation'")
    height, width = part_maps.shape[-2:]
    first = 1 if convention == "evaluation" else 0
    xs = torch.arange(first, first + width, dtype=part_maps.dtype, device=part_maps.device)
    ys = torch.arange(first, first + height, dtype=part_maps.dtype, device=part_maps.device)
    moment = torch.stack([part_maps.sum(2) @ xs, part_maps.sum(3) @ ys], dim=-1)  # (B, K, 2)
    mass = part_maps.sum((2, 3))[..., None]  # (B, K, 1)
    if convention == "training":
        return moment / mass.clamp(min=1)
    if convention == "evaluation":
        return moment / (mass + 1e-8)
    middle = moment.new_tensor([(width - 1) / 2, (height - 1) / 2])
    return torch.where(mass > 0, moment / mass.clamp(min=torch.finfo(mass.dtype).tiny), middle)


class KeypointRegression:
    """Linear map from part centres to keypoints, one least-squares problem per keypoint.

    For each keypoint, centres and keypoint are standardised on the training images where it is visible, and a linear
    regression without intercept is fitted there (the paper's protocol, after Thewlis et al., 2017). The statistics of
    all keypoints are taken at once, and the normal problems are solved as one batch.
    """

    def fit(self, centers: Tensor | np.ndarray, keypoints: Tensor | np.ndarray) -> "KeypointRegression":
        """Fit on training images.

        Parameters
        ----------
        centers : (N, K, 2) ``(x, y)`` of the parts.
        keypoints : (N, M, 3) ``(x, y, visible)``, in the same units; visible is 0 or 1.

        Raises
        ------
        DataError
            Where shapes do not fit or a value is not finite. A keypoint visible in fewer than two training images
            cannot be fitted; it is left out (``fitted`` is False for it) and so is its error.
        """
        inputs, targets, visible = _regression_arrays(centers, keypoints, "training")
        weight = visible.T[:, :, None]  # (N, M) -> (M, N, 1)
        count = np.maximum(weight.sum(1), 1)  # (M, 1)
        self.fitted = visible.sum(0) >= 2  # (M,)
        self.input_mean = (weight * inputs).sum(1) / count  # (M, 2K)
        self.target_mean = (weight * targets).sum(1) / count  # (M, 2)
        centred_in = weight * (inputs - self.input_mean[:, None])  # (M, N, 2K), zero where invisible
        centred_out = weight * (targets - self.target_mean[:, None])  # (M, N, 2)
        self.input_std = _safe(np.sqrt((centred_in**2).sum(1) / count))
        self.target_std = _safe(np.sqrt((centred_out**2).sum(1) / count))
        x, y = centred_in / self.input_std[:, None], centred_out / self.target_std[:, None]
        self.weights = np.linalg.pinv(x) @ y  # (M, 2K, N) @ (M, N, 2) -> (M, 2K, 2), least norm where rank-deficient
        return self

    def predict(self, centers: Tensor | np.ndarray) -> np.ndarray:
        """Keypoints (N, M, 2) for part centres (N, K, 2)."""
        inputs = _array(centers).reshape(len(centers), -1)  # (N, K, 2) -> (N, 2K)
        if inputs.shape[1] != self.input_mean.shape[1]:
            raise DataError(f"{inputs.shape[1] // 2} part centres given; fitted on {self.input_mean.shape[1] // 2}")
        x = (inputs - self.input_mean[:, None]) / self.input_std[:, None]  # (M, N, 2K)
        predicted = (x @ self.weights) * self.target_std[:, None] + self.target_mean[:, None]  # (M, N, 2)
        return predicted.transpose(1, 0, 2)  # (M, N, 2) -> (N, M, 2)


def keypoint_regression_error(
    train_centers: Tensor | np.ndarray,
    train_keypoints: Tensor | np.ndarray,
    test_centers: Tensor | np.ndarray,
    test_keypoints: Tensor | np.ndarray,
    train_boxes: Tensor | np.ndarray | float = 1.0,
    test_boxes: Tensor | np.ndarray | float | None = None,
    groups: Tensor | np.ndarray | None = None,
    group: int | None = None,
) -> float:
    """Mean distance between regressed and annotated keypoints, in percent of the box side (the paper's table 1).

    Parameters
    ----------
    train_centers, test_centers : (N, K, 2) part centres ``(x, y)`` in pixels (``part_centers``).
    train_keypoints, test_keypoints : (N, M, 3) ``(x, y, visible)`` in pixels.
    train_boxes, test_boxes : the object's box. A number is the side of one box for all images (the image size, where
        images are crops of the box); (N, 2) is its width and height per image; (N, 4) is ``(left, top, width,
        height)``, and coordinates are then taken relative to the box. ``test_boxes`` defaults to ``train_boxes``
        where that is a number.
    groups, group : category of every test image (N,), and the one to score (CUB-001, -002, -003). The regression is
        always fitted on all training images given.

    Returns
    -------
    float, percent; the mean over all visible keypoints of the test images.
    """
    if test_boxes is None:
        if np.ndim(_array(train_boxes)) > 0:
            raise ConfigError("train_boxes are given per image but test_boxes are missing; pass both")
        test_boxes = train_boxes
    train_centers, train_keypoints = _relative_to_box(train_centers, train_keypoints, train_boxes)
    test_centers, test_keypoints = _relative_to_box(test_centers, test_keypoints, test_boxes)
    model = KeypointRegression().fit(train_centers, train_keypoints)
    _, _, visible = _regression_arrays(test_centers, test_keypoints, "test")
    counted = (visible > 0) & model.fitted  # (N, M)
    if group is not None:
        if groups is None:
            raise ConfigError(f"group is {group} but groups is missing; pass the category of every test image")
        counted &= (_array(groups) == group)[:, None]
    if not counted.any():
        raise DataError("no visible keypoint to score in the test images; check their third column (0 or 1)")
    distance = np.linalg.norm(model.predict(test_centers) - test_keypoints[..., :2], axis=-1)  # (N, M)
    return float(100 * distance[counted].mean())


def keypoint_labels(
    labels: Tensor, keypoints: Tensor, convention: Literal["pixel", "release"] = "pixel"
) -> tuple[Tensor, Tensor]:
    """Which part lies under every visible keypoint: the CUB clustering protocol.

    Feed the two results to :class:`partlib.metrics.PartScores` (its "fg_nmi" and "fg_ari" are the protocol's scores).
    With label maps from ``argmax + 1`` everywhere one gets the score without background; with label maps that are 0
    off the foreground, the score with background.

    Parameters
    ----------
    labels : (B, H, W) integers, 0 background, 1..K parts.
    keypoints : (B, M, 3) ``(x, y, visible)`` in pixels, 0 at the centre of the first pixel.
    convention : "pixel" reads the nearest pixel. "release" reads half a pixel to the upper left, as the authors'
        evaluation does (its grid is ``2 x / W - 1`` with align_corners=False).

    Returns
    -------
    (predicted, target) : two (P,) int64 tensors, P the number of visible keypoints in order of image and keypoint.
        ``target`` is 1 + the index of the keypoint. A keypoint outside the image has prediction 0.
    """
    if convention not in ("pixel", "release"):
        raise ConfigError(f"convention is {convention!r}; expected 'pixel' or 'release'")
    if labels.ndim != 3 or keypoints.ndim != 3 or len(labels) != len(keypoints):
        raise DataError(
            f"labels {tuple(labels.shape)} and keypoints {tuple(keypoints.shape)}; expected (B, H, W) and (B, M, 3)"
        )
    height, width = labels.shape[-2:]
    image, index = torch.nonzero(keypoints[..., 2] > 0, as_tuple=True)  # (P,), (P,)
    shift = 0.5 if convention == "release" else 0.0
    x, y = (keypoints[image, index, :2] - shift).round().long().unbind(-1)  # (P,), (P,)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = labels[image, y.clamp(0, height - 1), x.clamp(0, width - 1)].long()
    return torch.where(inside, found, 0), index + 1


def _array(values: Tensor | np.ndarray | float) -> np.ndarray:
    values = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return values.astype(np.float64)


def _safe(std: np.ndarray) -> np.ndarray:
    """Standard deviations with 1 in place of 0: a coordinate that never moves carries nothing."""
    return np.where(std > 0, std, 1.0)


def _regression_arrays(centers, keypoints, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked inputs (N, 2K), targets (M, N, 2) and visibility (N, M) in float64."""
    centers, keypoints = _array(centers), _array(keypoints)
    if centers.ndim != 3 or centers.shape[2] != 2 or keypoints.ndim != 3 or keypoints.shape[2] != 3:
        raise DataError(
            f"{name} centres {centers.shape} and keypoints {keypoints.shape}; expected (N, K, 2) and (N, M, 3)"
        )
    if len(centers) != len(keypoints):
        raise DataError(f"{len(centers)} {name} images have centres but {len(keypoints)} have keypoints")
    visible = (keypoints[..., 2] > 0).astype(np.float64)  # (N, M)
    targets = np.where(visible[..., None] > 0, keypoints[..., :2], 0.0)  # invisible ones may hold anything
    if not (np.isfinite(centers).all() and np.isfinite(targets).all()):
        raise DataError(f"{name} centres or visible keypoints are not finite")
    inputs = centers.reshape(len(centers), -1)  # (N, K, 2) -> (N, 2K)
    return inputs, targets.transpose(1, 0, 2), visible  # (N, 2K), (M, N, 2), (N, M)


def _relative_to_box(centers, keypoints, boxes) -> tuple[np.ndarray, np.ndarray]:
    """Centres and keypoints in units of the box's sides (and from its corner, where the corner is given)."""
    centers, keypoints, boxes = _array(centers), _array(keypoints).copy(), _array(boxes)
    if boxes.ndim == 0:
        boxes = np.full((1, 2), float(boxes))
    if boxes.ndim != 2 or boxes.shape[1] not in (2, 4) or len(boxes) not in (1, len(centers)):
        raise DataError(f"boxes have shape {boxes.shape}; expected a number, (N, 2) or (N, 4) with N = {len(centers)}")
    corner, side = (boxes[:, :-2] if boxes.shape[1] == 4 else 0 * boxes), boxes[:, -2:]  # (N, 2), (N, 2)
    if not (side > 0).all():
        raise DataError("a box has a side of 0 or less; expected width and height in pixels")
    keypoints[..., :2] = (keypoints[..., :2] - corner[:, None]) / side[:, None]
    return (centers - corner[:, None]) / side[:, None], keypoints
