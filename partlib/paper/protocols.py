"""The evaluation protocols of the paper: a segmenter and data sets in, scores in percent out.

Counts are pooled over the whole data set before a score is computed, never averaged over images. The foreground scores
(``fg_nmi``, ``fg_ari``) look at annotated pixels or keypoints only and take the likeliest of the K parts there, so no
mask has a part in them. In the full scores (``nmi``, ``ari``) what lies off ``Sample.foreground``, an annotated mask or
a predicted one, is one more cluster of the prediction.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from partlib.data.base import Batch, PartDataset
from partlib.distributed import progress_bar
from partlib.errors import DataError
from partlib.evaluation import batches
from partlib.metrics import PartScores, keypoint_labels, keypoint_regression_error, part_centers, part_moments
from partlib.segmenter import PartSegmenter, part_maps

Scores = dict[str, float | None]  # in percent; None where there was nothing to score
BATCH = 32  # images in memory at a time
CUB_CLASSES = ("001", "002", "003")  # columns of the paper's table 1; labels 0, 1, 2


@dataclass(frozen=True)
class KeypointReading:
    """What the CUB protocol needs to know of N images with M keypoints, P of them visible in all; in pixels."""

    centers: Tensor  # (N, K, 2) centers (x, y) of the parts
    keypoints: Tensor  # (N, M, 3) (x, y, visible)
    boxes: Tensor  # (N, 4) (left, top, width, height) of the annotated boxes
    labels: Tensor  # (N,) categories
    parts: Tensor  # (P,) likeliest part 1..K under each visible keypoint; 0 where it lies outside the image
    masked_parts: Tensor  # (P,) the same, but 0 off the foreground
    targets: Tensor  # (P,) 1 + the index of each visible keypoint


def cub(
    segmenter: PartSegmenter, train: Sequence[PartDataset], tests: Sequence[PartDataset], release: bool = False
) -> list[Scores]:
    """Scores of CUB, or of any data set with keypoints and boxes, for each of ``tests`` (paper, table 1)."""
    fitted = read_keypoints(segmenter, train, release)
    return [cub_scores(fitted, read_keypoints(segmenter, [test], release)) for test in tests]


def read_keypoints(segmenter: PartSegmenter, datasets: Sequence[PartDataset], release: bool = False) -> KeypointReading:
    """Part centers, and the parts under the keypoints, of all images of ``datasets``.

    With ``release`` logits are upsampled with ``align_corners=False`` and read by the functions that end this file.
    """
    read_centers = part_centers_evaluation if release else part_centers
    read_labels = keypoint_labels_release if release else keypoint_labels
    images, points, boxes = [], [], []
    for dataset in datasets:
        if not dataset.keypoint_names or dataset.boxes is None:
            needed = "keypoints with boxes, which protocol cub scores; use --protocol pixels where it has part masks"
            raise DataError(f"data set {dataset.name!r} has no {needed}")
        boxes.append(torch.tensor(dataset.boxes, dtype=torch.float32))
        for batch, low, _ in _forward(segmenter, dataset):
            assert batch.keypoints is not None
            logits = _upsample(low, batch, align_corners=not release)  # (B, K, H, W)
            centers = read_centers(part_maps(logits, batch.foreground))  # (B, K, 2)
            labels = logits.argmax(dim=1) + 1  # (B, H, W)
            parts, targets = read_labels(labels, batch.keypoints)  # (P,), (P,)
            masked_parts, _ = read_labels(labels * _inside(batch), batch.keypoints)  # (P,)
            images.append((centers, batch.keypoints, batch.labels))
            points.append((parts, masked_parts, targets))
    all_centers, keypoints, species = map(torch.cat, zip(*images, strict=True))
    parts, masked_parts, targets = map(torch.cat, zip(*points, strict=True))
    return KeypointReading(all_centers, keypoints, torch.cat(boxes), species, parts, masked_parts, targets)


def cub_scores(train: KeypointReading, test: KeypointReading) -> Scores:
    """The scores of :func:`cub` from what was read off the images.

    ``kp_001`` ... ``kp_all``: distance of annotated keypoints, of one species or all, from those that a linear map of
    the part centers predicts, fitted on all species of ``train``, in percent of the sides of the box. ``fg_nmi`` ...
    ``ari``: the part under each visible keypoint against the keypoint's index.
    """
    scores: Scores = {}
    for column in (*CUB_CLASSES, "all"):
        keypoints = test.keypoints.clone()
        if column != "all":
            keypoints[test.labels != int(column) - 1, :, 2] = 0  # those of other species count as invisible
        inputs = train.centers, train.keypoints, test.centers, keypoints, train.boxes, test.boxes
        scores[f"kp_{column}"] = keypoint_regression_error(*inputs) if keypoints[..., 2].any() else None
    likeliest = PartScores().update(test.parts, test.targets)
    return scores | _part_scores(likeliest, PartScores().update(test.masked_parts, test.targets))


def pixels(segmenter: PartSegmenter, test: PartDataset, gray_labels: Tensor | None = None) -> Scores:
    """Scores of any data set with part masks: every pixel's annotated part against the discovered one.

    Paper, section 4.4 (DeepFashion) and table 4 (PASCAL-Part: one column per category, from a segmenter of its own).
    The release computes the full scores of DeepFashion from logits upsampled with ``align_corners=False``, against
    classes (N, H, W) shrunk as if they were gray values; where ``gray_labels`` are given, so do we.
    """
    if not test.part_names:
        remedy = "use --protocol cub where it has keypoints"
        raise DataError(f"data set {test.name!r} has no part annotation, which this protocol scores; {remedy}")
    likeliest, masked = PartScores(), PartScores()
    for batch, low, indices in _forward(segmenter, test):
        assert batch.parts is not None
        labels, target = _upsample(low, batch).argmax(dim=1) + 1, batch.parts  # (B, H, W)
        likeliest.update(labels, target)
        if gray_labels is not None:
            labels, target = _upsample(low, batch, align_corners=False).argmax(dim=1) + 1, gray_labels[indices]
        masked.update(labels * _inside(batch), target)
    return _part_scores(likeliest, masked)


def _part_scores(likeliest: PartScores, masked: PartScores) -> Scores:
    """Foreground scores of the likeliest parts, full scores of those with background; None for nan."""
    foreground, full = likeliest.compute(), masked.compute()
    values = {name: (foreground if name.startswith("fg_") else full)[name] for name in foreground}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _inside(batch: Batch) -> Tensor:
    return batch.foreground[:, 0] >= 0.5  # (B, H, W)


def _upsample(low: Tensor, batch: Batch, align_corners: bool = True) -> Tensor:
    """The decoder's logits (B, K, h, w) at the size of the images, (B, K, H, W), on the CPU."""
    return F.interpolate(low, batch.images.shape[-2:], mode="bilinear", align_corners=align_corners).cpu()


def _forward(segmenter: PartSegmenter, dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
    """The batches of a data set, their logits (B, K, h, w) as the decoder gives them, and their indices."""
    device, was_training = next(segmenter.parameters()).device, segmenter.training
    segmenter.eval()
    total = math.ceil(len(dataset) / BATCH)
    for batch, indices in progress_bar(batches(dataset, BATCH), f"{dataset.name} {dataset.split}", total, leave=False):
        images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            low = segmenter.decoder(segmenter.encoder(images))
        yield batch, low, indices
    segmenter.train(was_training)


# How the release reads part centers (B, K, 2) of maps (B, K, H, W), and keypoints, where it differs by a pixel or half.


def part_centers_training(maps: Tensor) -> Tensor:
    """In training: first pixel at 0, mass at least 1, so that a part of less than one pixel is pulled to the corner."""
    moments, mass = part_moments(maps)
    return moments / mass.clamp(min=1)


def part_centers_evaluation(maps: Tensor) -> Tensor:
    """In the evaluation of CUB: first pixel at 1, mass + 1e-8."""
    moments, mass = part_moments(maps, first=1)
    return moments / (mass + 1e-8)


def keypoint_labels_release(labels: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Half a pixel to the upper left: on a grid of ``2 x / W - 1`` with align_corners=False."""
    return keypoint_labels(labels, keypoints - keypoints.new_tensor([0.5, 0.5, 0.0]))
