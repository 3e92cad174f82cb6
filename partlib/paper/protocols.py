"""The evaluation protocols of the paper: scores in percent of a segmenter, or of a run (``partlib evaluate``).

Counts are pooled over the whole data set before a score is computed, never averaged over images. The foreground scores
(``fg_nmi``, ``fg_ari``) look at annotated pixels or keypoints only and take the likeliest of the K parts there, so no
mask has a part in them. In the full scores (``nmi``, ``ari``) what lies off ``Sample.foreground``, an annotated mask or
a predicted one, is one more cluster of the prediction.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from torch import Tensor
from torch.nn import functional as F

from partlib.config import TrainConfig
from partlib.data import load_dataset, read_options
from partlib.data.base import ArrayDataset, Batch, PartDataset, at_once, batches
from partlib.distributed import progress_bar
from partlib.errors import ConfigError, DataError
from partlib.masks.predicted import load_with_masks, mean_iou, sample_names
from partlib.metrics import PartScores, keypoint_labels, keypoint_regression_error, part_centers, part_moments
from partlib.paper import release_data
from partlib.segmenter import PartSegmenter, likeliest_part, part_maps

Scores = dict[str, float | None]  # in percent; None where there was nothing to score
# data set -> its batches, logits (B, K, h, w) of each that are brought to the size of the images, and their indices
Forward = Callable[[PartDataset], Iterator[tuple[Batch, Tensor, list[int]]]]
CUB_CLASSES = ("001", "002", "003")  # columns of the paper's table 1; labels 0, 1, 2
PROTOCOLS = ("cub", "deepfashion", "pascal-part", "pixels")
MASKS = ("annotated", "derived", "predicted")
COLUMNS = {f"kp_{name}": f"kp {name}" for name in (*CUB_CLASSES, "all")}
COLUMNS |= {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"}


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
    forward: Forward, train: Sequence[PartDataset], tests: Sequence[PartDataset], release: bool = False
) -> list[Scores]:
    """Scores of CUB, or of any data set with keypoints and boxes, for each of ``tests`` (paper, table 1)."""
    fitted = read_keypoints(forward, train, release)
    return [cub_scores(fitted, read_keypoints(forward, [test], release)) for test in tests]


def read_keypoints(forward: Forward, datasets: Sequence[PartDataset], release: bool = False) -> KeypointReading:
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
        for batch, low, _ in forward(dataset):
            assert batch.keypoints is not None
            logits = _upsample(low, batch, align_corners=not release)  # (B, K, H, W)
            centers = read_centers(part_maps(logits, batch.foreground))  # (B, K, 2)
            labels = likeliest_part(logits)  # (B, H, W)
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


def pixels(forward: Forward, test: PartDataset, gray_labels: Tensor | None = None) -> Scores:
    """Scores of any data set with part masks: every pixel's annotated part against the discovered one.

    Paper, section 4.4 (DeepFashion) and table 4 (PASCAL-Part: one column per category, from a segmenter of its own).
    The release computes the full scores of DeepFashion from logits upsampled with ``align_corners=False``, against
    classes (N, H, W) shrunk as if they were gray values; where ``gray_labels`` are given, so do we.
    """
    if not test.part_names:
        remedy = "use --protocol cub where it has keypoints"
        raise DataError(f"data set {test.name!r} has no part annotation, which this protocol scores; {remedy}")
    likeliest, masked = PartScores(), PartScores()
    for batch, low, indices in forward(test):
        assert batch.parts is not None
        labels, target = likeliest_part(_upsample(low, batch)), batch.parts  # (B, H, W)
        likeliest.update(labels, target)
        if gray_labels is not None:
            labels, target = likeliest_part(_upsample(low, batch, align_corners=False)), gray_labels[indices]
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


def network(segmenter: PartSegmenter) -> Forward:
    """The logits of a segmenter as its decoder gives them."""

    def forward(dataset: PartDataset) -> Iterator[tuple[Batch, Tensor, list[int]]]:
        device, was_training = next(segmenter.parameters()).device, segmenter.training
        segmenter.eval()
        size, title = at_once(device), f"{dataset.name} {dataset.split}"
        total = math.ceil(len(dataset) / size)
        for batch, indices in progress_bar(batches(dataset, size), title, total, leave=False):
            images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
            with torch.no_grad():
                low = segmenter.decoder(segmenter.encoder(images))
            yield batch, low, indices
        segmenter.train(was_training)

    return forward


def part_centers_evaluation(maps: Tensor) -> Tensor:
    """:func:`part_centers` as in the release's evaluation of CUB: first pixel at 1, mass + 1e-8."""
    moments, mass = part_moments(maps, first=1)
    return moments / (mass + 1e-8)


def keypoint_labels_release(labels: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`keypoint_labels` as in the release: half a pixel to the upper left (align_corners=False)."""
    return keypoint_labels(labels, keypoints - keypoints.new_tensor([0.5, 0.5, 0.0]))


def on_data(config: TrainConfig, name: str = "", root: str = "", options: Sequence[str] = ()) -> TrainConfig:
    """A run's ``config`` with what to score on: its data set, whose root and options are kept, or another one."""
    kept, own_root = (config.data_options, config.root) if name in ("", config.data) else ((), "")
    merged = {text.partition("=")[0].strip(): text for text in (*kept, *options)}  # the later value counts
    return config.replace(data=name or config.data, root=root or own_root, data_options=tuple(merged.values()))


def evaluate(
    segmenter: PartSegmenter,
    config: TrainConfig,
    protocol: str = "",
    split: str = "test",
    masks: str | Path | None = None,
    reproduce_release: bool = False,
) -> dict[str, Any]:
    """What the JSON holds: scores on the data set of ``config``, with its own masks and with those in a folder.

    Its own are annotated, or derived where its options say so (``masks=boxes``).
    """
    name = config.data
    allowed = [known for known in PROTOCOLS if known in ("cub", "pixels", name)]
    protocol = protocol or (name if name in allowed else "pixels")
    if protocol not in allowed:
        raise ConfigError(f"--protocol {protocol} cannot score {name!r}; expected one of {', '.join(allowed)}")
    if protocol == "pixels" and reproduce_release:
        raise ConfigError("protocol pixels is not one of the release; drop --reproduce-release, or name its data set's")

    # The images, once with each kind of mask. Those whose own foreground is empty are in neither.
    options = release_data.OPTIONS.get(name, {}) if reproduce_release else {}
    options = options | read_options(name, config.data_options)
    own = "derived" if name == "cub" and options.get("masks", "annotated") != "annotated" else "annotated"
    if name == "deepfashion":  # its option is for masks predicted of test images
        masks = masks or options.pop("masks", None)
    place: dict[str, Any] = {"root": config.root or None, "image_size": config.image_size}
    tests = [load_dataset(name, split, **place, **options)]
    if masks is not None:
        predicted = load_with_masks(name, split, **place, folder=Path(masks), **options)
        if isinstance(predicted, ArrayDataset):
            predicted = predicted.subset(np.isin(predicted.names, sample_names(tests[0])))
        tests.append(predicted)

    # The scores
    if protocol == "cub":  # fitted on the training images without their random crops
        options |= {"jitter": 0.0, "mirror": False} if name == "cub" else {}
        train = [load_dataset(name, split, **place, **options) for split in ("train", "val")]
        scores = cub(network(segmenter), train, tests, reproduce_release)
    else:
        gray = None
        if protocol == "deepfashion" and reproduce_release and tests[0].photos is not None:
            values = [release_data.labels_as_gray_values(Path(photo), config.image_size) for photo in tests[0].photos]
            gray = torch.from_numpy(np.stack(values))  # (N, H, W)
        scores = [pixels(network(segmenter), test, gray) for test in tests]
    if masks is not None:
        wanted, found = (torch.stack([one[i].foreground[0] >= 0.5 for i in range(len(one))]) for one in tests)
        scores[1]["mean_iou"] = mean_iou(found, wanted)
    known: dict[str, Any] = {"protocol": protocol, "data": name, "split": split, "options": list(config.data_options)}
    known |= {"num_images": len(tests[0]), "num_parts": config.num_parts, "seed": config.seed}
    kinds = {f"{own}_masks": scores[0], "predicted_masks": scores[1] if masks is not None else None}
    return {**known, "reproduce_release": reproduce_release, **kinds}


def table(result: dict[str, Any]) -> str:
    """The scores of :func:`evaluate` as text: one line per kind of mask."""
    rows: dict[str, Any] = {}
    for kind in MASKS:
        scores = result.get(f"{kind}_masks") or {}
        iou = f" (IoU {scores['mean_iou']:.1f})" if "mean_iou" in scores else ""
        rows |= {f"{kind} masks{iou}": scores} if scores else {}
    frame = pandas.DataFrame.from_dict(rows, orient="index", dtype=float)
    frame = frame[[name for name in COLUMNS if name in frame]].rename(columns=COLUMNS)
    head = "{data} {split}, {num_images} images, K = {num_parts}, seed {seed}; protocol {protocol}".format(**result)
    head += ", conventions of the release" if result["reproduce_release"] else ""
    unit = "percent; kp: keypoint error in percent of the box, lower is better; the others, higher is better"
    return "\n".join([head, frame.to_string(float_format="{:.1f}".format, na_rep="-"), unit])
