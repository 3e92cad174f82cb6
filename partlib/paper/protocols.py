"""The evaluation protocols of the paper, one function each: a segmenter and data sets in, scores in percent out.

====================  =====================================================================================
:func:`cub`           keypoint error, and NMI / ARI of the parts under the keypoints (paper, table 1)
:func:`deepfashion`   NMI / ARI of all pixels and of the foreground's (paper, section 4.4)
:func:`pascal_part`   the same for one category (paper, table 4)
:func:`pixels`        the same for any data set with part masks
====================  =====================================================================================

What all of them share, as in the release: counts are pooled over the whole data set before a score is computed, never
averaged over images. The *foreground* scores (``fg_nmi``, ``fg_ari``) look at annotated pixels or keypoints only and
take the likeliest of the K parts there, so no mask has a part in them. The *full* scores (``nmi``, ``ari``) have the
background as one more cluster on the side of the prediction: whatever lies off ``Sample.foreground``, which may be an
annotated mask or a predicted one (:mod:`partlib.predicted_masks`).

``reproduce_release=True`` follows the release where its conventions differ from those of the rest of this library; each
function says where. The data set must then be loaded with ``RELEASE_OPTIONS``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from partlib.data.base import Batch, PartDataset
from partlib.data.deepfashion import labels_as_grey_values
from partlib.errors import ConfigError, DataError
from partlib.evaluation import batches
from partlib.keypoints import keypoint_labels, keypoint_regression_error, part_centers
from partlib.metrics import PartScores
from partlib.segmenter import PartSegmenter

Scores = dict[str, float | None]  # in percent; None where there was nothing to score

PROTOCOLS = ("cub", "deepfashion", "pascal-part", "pixels")
CUB_CLASSES = ("001", "002", "003")  # columns of the paper's table 1; labels 0, 1, 2
# Options of ``load_dataset`` under which images and annotations are those of the release.
RELEASE_OPTIONS: dict[str, dict[str, Any]] = {
    "cub": {"reproduce_release": True},
    "deepfashion": {"reproduce_release": True},
    "pascal-part": {"keep_without_parts": True, "crop": False},
}


@dataclass(frozen=True)
class KeypointReading:
    """What the CUB protocol needs to know of N images with M keypoints, P of them visible in all.

    Attributes
    ----------
    centers : (N, K, 2) centres ``(x, y)`` of the parts, in pixels.
    keypoints : (N, M, 3) ``(x, y, visible)``, in pixels.
    boxes : (N, 4) ``(left, top, width, height)`` of the annotated boxes, in pixels.
    labels : (N,) categories.
    parts : (P,) likeliest part 1..K under each visible keypoint; 0 where it lies outside the image.
    masked_parts : (P,) the same, but 0 off the foreground.
    targets : (P,) 1 + the index of each visible keypoint.
    """

    centers: Tensor
    keypoints: Tensor
    boxes: Tensor
    labels: Tensor
    parts: Tensor
    masked_parts: Tensor
    targets: Tensor


def cub(
    segmenter: PartSegmenter, train: Sequence[PartDataset], test: PartDataset, *, reproduce_release: bool = False
) -> Scores:
    """Scores of CUB-200-2011, or of any data set with keypoints.

    ``kp_001`` ... ``kp_all`` are :func:`partlib.keypoints.keypoint_regression_error`: the distance between annotated
    and predicted keypoints in percent of the sides of the annotated box, where a linear map from the K part centres
    predicts them. The map is fitted on all species of ``train``; each column scores one species of ``test``, or all.
    ``fg_nmi`` ... ``ari`` compare the part under each visible keypoint with the keypoint's index.

    ==========================  ===============================  ==================================
    convention                  default                          ``reproduce_release=True``
    ==========================  ===============================  ==================================
    upsampling of the logits    ``align_corners=True``           ``align_corners=False``
    part centres                first pixel at 0                 first pixel at 1, mass + 1e-8
    pixel under a keypoint      the nearest                      half a pixel to the upper left
    images, keypoints           antialiased, exact               as the release loads them
    ==========================  ===============================  ==================================

    Parameters
    ----------
    train : data sets to fit on. The paper's training images are the splits "train" and "val" of this library.
    test : data set to score.

    Raises
    ------
    DataError : a data set has no keypoints.
    """
    fitted = join_readings([read_keypoints(segmenter, dataset, reproduce_release) for dataset in train])
    return cub_scores(fitted, read_keypoints(segmenter, test, reproduce_release))


def read_keypoints(segmenter: PartSegmenter, dataset: PartDataset, reproduce_release: bool = False) -> KeypointReading:
    """Part centres and the parts under the keypoints of ``dataset``; see :func:`cub` for the conventions.

    Raises
    ------
    DataError : the data set has no keypoints, or no boxes to measure distances by.
    """
    boxes = getattr(dataset, "boxes", None)
    if not dataset.keypoint_names or boxes is None:
        raise DataError(
            f"data set {dataset.name!r} has no keypoints with boxes, which protocol cub scores; "
            "use --protocol pixels where it has part masks"
        )
    centers, keypoints, labels, found = [], [], [], []
    for batch, logits in _logits(segmenter, dataset, align_corners=not reproduce_release):
        assert batch.keypoints is not None
        part_maps = logits.softmax(dim=1) * batch.foreground  # (B, K, H, W)
        centers.append(part_centers(part_maps, "evaluation" if reproduce_release else "pixel"))
        keypoints.append(batch.keypoints)
        labels.append(batch.labels)
        likeliest = logits.argmax(dim=1) + 1  # (B, H, W)
        convention: Literal["release", "pixel"] = "release" if reproduce_release else "pixel"
        parts, targets = keypoint_labels(likeliest, batch.keypoints, convention)
        masked, _ = keypoint_labels(likeliest * (batch.foreground[:, 0] >= 0.5), batch.keypoints, convention)
        found.append(torch.stack([parts, masked, targets]))  # (3, P of this batch)
    return KeypointReading(
        torch.cat(centers),
        torch.cat(keypoints),
        torch.from_numpy(np.array(boxes, np.float32)),
        torch.cat(labels),
        *torch.cat(found, dim=1),
    )


def join_readings(readings: Sequence[KeypointReading]) -> KeypointReading:
    """One reading of the images of all."""
    fields = KeypointReading.__dataclass_fields__
    return KeypointReading(**{name: torch.cat([getattr(r, name) for r in readings]) for name in fields})


def cub_scores(train: KeypointReading, test: KeypointReading) -> Scores:
    """The scores of :func:`cub` from what was read off the images."""
    scores: Scores = {}
    for column in (*CUB_CLASSES, "all"):
        group = None if column == "all" else int(column) - 1
        visible = test.keypoints[..., 2] > 0  # (N, M)
        if group is not None:
            visible = visible & (test.labels == group)[:, None]
        scores[f"kp_{column}"] = None
        if visible.any():
            scores[f"kp_{column}"] = keypoint_regression_error(
                *(train.centers, train.keypoints, test.centers, test.keypoints, train.boxes, test.boxes),
                groups=test.labels,
                group=group,
            )
    # Every target is above 0, so the scores of the foreground are those of all visible keypoints.
    plain = _only(PartScores().update(test.parts, test.targets), "fg_nmi", "fg_ari")
    masked = _only(PartScores().update(test.masked_parts, test.targets), "fg_nmi", "fg_ari")
    return {**scores, **plain, "nmi": masked["fg_nmi"], "ari": masked["fg_ari"]}


def deepfashion(segmenter: PartSegmenter, test: PartDataset, *, reproduce_release: bool = False) -> Scores:
    """Scores of DeepFashion In-shop: every pixel's class against its part.

    With ``reproduce_release=True`` the full scores follow the release: logits are upsampled with
    ``align_corners=False``, and the annotation of the photograph, made square, is shrunk as if labels were grey values,
    which invents classes along borders. The foreground scores are as by default, on images and labels resized as the
    release does (``RELEASE_OPTIONS``). The release shrinks with the same function; that it squares the photograph
    first, as it does for training, is this library's reading.

    Raises
    ------
    DataError : another data set.
    """
    _require(test, "deepfashion", ("deepfashion",))
    if not reproduce_release:
        return pixels(segmenter, test)
    full = PartScores()
    photos = [Path(photo) for photo in test.photos]  # type: ignore[attr-defined]
    start = 0
    for batch, logits in _logits(segmenter, test, align_corners=False):
        shrunk = [labels_as_grey_values(photo, test.image_size) for photo in photos[start : start + len(logits)]]
        full.update(_masked(logits, batch), torch.stack([torch.from_numpy(one.astype(np.int64)) for one in shrunk]))
        start += len(logits)
    return {**pixels(segmenter, test), **_only(full, "nmi", "ari")}


def pascal_part(segmenter: PartSegmenter, test: PartDataset, *, reproduce_release: bool = False) -> Scores:
    """Scores of one category of PASCAL-Part: every pixel's part against the discovered one.

    The paper's table 4 has one column per category, from a segmenter of its own, and its "NMI" and "ARI" are the full
    scores. Objects whose box covers less than 20 % of the image are left out of the test split. The release keeps
    objects without parts as images that are all background and shows whole photographs; ``RELEASE_OPTIONS`` loads them
    so, and nothing else differs.

    Raises
    ------
    DataError : another data set.
    """
    _require(test, "pascal-part", ("pascal-part",))
    return pixels(segmenter, test)


def pixels(segmenter: PartSegmenter, test: PartDataset, *, reproduce_release: bool = False) -> Scores:
    """Scores of any data set with part masks: every pixel's annotated part against the discovered one.

    Raises
    ------
    DataError : the data set has no part masks.
    ConfigError : with ``reproduce_release=True``; this protocol is not the release's.
    """
    if reproduce_release:
        raise ConfigError("protocol pixels is not one of the release; drop --reproduce-release, or name its data set's")
    if not test.part_names:
        raise DataError(
            f"data set {test.name!r} has no part annotation, which this protocol scores; "
            "use --protocol cub where it has keypoints"
        )
    foreground, full = PartScores(), PartScores()
    for batch, logits in _logits(segmenter, test):
        assert batch.parts is not None
        foreground.update(logits.argmax(dim=1) + 1, batch.parts)
        full.update(_masked(logits, batch), batch.parts)
    return {**_only(foreground, "fg_nmi", "fg_ari"), **_only(full, "nmi", "ari")}


def _require(dataset: PartDataset, protocol: str, names: Sequence[str]) -> None:
    if dataset.name not in names:
        raise DataError(
            f"protocol {protocol} scores data set {names[0]!r}, not {dataset.name!r}; use --protocol pixels"
        )


def _only(scores: PartScores, *names: str) -> Scores:
    """The named scores; None in place of nan."""
    values = scores.compute()
    return {name: None if values[name] != values[name] else values[name] for name in names}


def _masked(logits: Tensor, batch: Batch) -> Tensor:
    """Labels (B, H, W): 0 off the foreground, else the likeliest part."""
    return (logits.argmax(dim=1) + 1) * (batch.foreground[:, 0] >= 0.5)


@contextmanager
def _evaluating(segmenter: PartSegmenter) -> Iterator[None]:
    """Eval mode inside, the old mode after."""
    was_training = segmenter.training
    segmenter.eval()
    try:
        yield
    finally:
        segmenter.train(was_training)


def _logits(
    segmenter: PartSegmenter, dataset: PartDataset, align_corners: bool = True, batch_size: int = 32
) -> Iterator[tuple[Batch, Tensor]]:
    """The batches of a data set with their logits (B, K, H, W), all on the CPU."""
    device = next(segmenter.parameters()).device
    with _evaluating(segmenter), tqdm(total=len(dataset), desc=f"{dataset.name} {dataset.split}", leave=False) as bar:
        for batch, _ in batches(dataset, batch_size):
            with torch.no_grad():
                images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
                low = segmenter.decoder(segmenter.encoder(images))  # (B, K, h, w)
                size = tuple(images.shape[-2:])
                logits = F.interpolate(low, size=size, mode="bilinear", align_corners=align_corners).cpu()
            yield batch, logits
            bar.update(len(logits))
