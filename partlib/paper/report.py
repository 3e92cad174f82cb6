"""A run scored by a protocol of the paper, with annotated and with predicted masks: ``partlib evaluate --protocol``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partlib.config import TrainConfig
from partlib.data import load_dataset
from partlib.data.base import ArrayDataset, PartDataset
from partlib.data.options import merge_options, option_types, read_options
from partlib.errors import ConfigError
from partlib.masks.predicted import WHOLE_PHOTOGRAPHS, load_with_masks, mean_iou, sample_names
from partlib.paper import protocols
from partlib.paper.protocols import PROTOCOLS, RELEASE_OPTIONS, Scores
from partlib.segmenter import PartSegmenter

COLUMNS = {
    **{f"kp_{name}": f"kp {name}" for name in (*protocols.CUB_CLASSES, "all")},
    **{"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"},
}


@dataclass(frozen=True)
class Source:
    """A data set to score on: arguments of ``load_dataset``, with the options as text (:mod:`partlib.data.options`)."""

    name: str
    root: str | None
    options: tuple[str, ...]
    image_size: int

    @classmethod
    def of(cls, config: TrainConfig, name: str = "", root: str = "", options: Sequence[str] = ()) -> "Source":
        """The data set of a run, or another one; root and options of the run's own are kept where none are given."""
        own = not name or name == config.data
        kept = config.data_options if own else ()
        return cls(
            name or config.data,
            root or (config.root if own else "") or None,
            merge_options(kept, options),
            config.image_size,
        )

    def values(self) -> dict[str, Any]:
        """The options, ready for ``load_dataset``."""
        return read_options(self.name, self.options)

    def load(self, split: str) -> PartDataset:
        return load_dataset(self.name, split, self.root, self.image_size, **self.values())


def usual_protocol(name: str) -> str:
    """The protocol of a data set: the paper's where it uses the data set, else that of pixels."""
    return name if name in PROTOCOLS else "pixels"


def evaluate(
    segmenter: PartSegmenter,
    config: TrainConfig,
    source: Source,
    protocol: str = "",
    *,
    split: str = "test",
    masks: str | Path | None = None,
    reproduce_release: bool = False,
) -> dict[str, Any]:
    """Score a segmenter by a protocol.

    Parameters
    ----------
    config : of the run, for the record.
    source : what to score on.
    protocol : one of ``PROTOCOLS``; the usual one of the data set where empty.
    masks : folder of predicted masks to score with as well; see :mod:`partlib.predicted_masks`.
    reproduce_release : load and score as the release does; see :mod:`partlib.protocols`.

    Returns
    -------
    dict, ready for JSON: protocol, data, split, options, num_images, num_parts, seed, reproduce_release, and under
    "annotated_masks" and "predicted_masks" (None without) the scores; the latter with the masks' "mean_iou".

    Raises
    ------
    ConfigError, DataError : an unknown protocol, or a data set that does not have what the protocol scores.
    """
    protocol = protocol or usual_protocol(source.name)
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is unknown; expected one of {', '.join(PROTOCOLS)}")
    options = source.values()
    if reproduce_release:
        options = {**RELEASE_OPTIONS.get(source.name, {}), **options}
    if source.name in WHOLE_PHOTOGRAPHS:
        masks = masks or options.pop("masks", None)
    test = load_dataset(source.name, split, source.root, source.image_size, **options)
    tests = [test]
    if masks is not None:
        predicted = load_with_masks(source.name, split, source.root, source.image_size, Path(masks), **options)
        tests.append(_same_images(predicted, test))
    train = _training_sets(source, options) if protocol == "cub" else []
    scores = _scores(protocol, segmenter, train, tests, reproduce_release)
    for dataset, found in zip(tests[1:], scores[1:], strict=True):
        found["mean_iou"] = _mask_iou(dataset, test)
    return {
        "protocol": protocol,
        "data": source.name,
        "split": split,
        "options": list(source.options),
        "num_images": len(test),
        "num_parts": config.num_parts,
        "seed": config.seed,
        "reproduce_release": reproduce_release,
        "annotated_masks": scores[0],
        "predicted_masks": scores[1] if masks is not None else None,
    }


def _training_sets(source: Source, options: dict[str, Any]) -> list[PartDataset]:
    """The images that the keypoint regression is fitted on, without the random crops that training may use."""
    random = {"jitter": 0.0, "mirror": False}
    steady = {key: value for key, value in random.items() if key in option_types(source.name)}
    return [
        load_dataset(source.name, split, source.root, source.image_size, **{**options, **steady})
        for split in ("train", "val")
    ]


def _scores(
    protocol: str,
    segmenter: PartSegmenter,
    train: Sequence[PartDataset],
    tests: Sequence[PartDataset],
    reproduce_release: bool,
) -> list[Scores]:
    """Scores on each of ``tests``; what comes from the training images is computed once."""
    if protocol == "cub":
        readings = [protocols.read_keypoints(segmenter, dataset, reproduce_release) for dataset in (*train, *tests)]
        fitted = protocols.join_readings(readings[: len(train)])
        return [protocols.cub_scores(fitted, reading) for reading in readings[len(train) :]]
    score = {"deepfashion": protocols.deepfashion, "pascal-part": protocols.pascal_part, "pixels": protocols.pixels}
    return [score[protocol](segmenter, dataset, reproduce_release=reproduce_release) for dataset in tests]


def _same_images(predicted: PartDataset, annotated: PartDataset) -> PartDataset:
    """``predicted`` without the images that were left out of ``annotated`` for want of an annotated foreground."""
    if not isinstance(predicted, ArrayDataset):
        return predicted
    kept = set(sample_names(annotated))
    return predicted.subset(np.array([name in kept for name in predicted.names]))


def _mask_iou(predicted: PartDataset, annotated: PartDataset) -> float:
    found, wanted = (
        torch.stack([dataset[i].foreground[0] >= 0.5 for i in range(len(dataset))])
        for dataset in (predicted, annotated)
    )
    return mean_iou(found, wanted)


def table(result: dict[str, Any]) -> str:
    """The scores of :func:`evaluate` as text: one line per kind of mask."""
    conventions = ", conventions of the release" if result["reproduce_release"] else ""
    head = (
        f"{result['data']} {result['split']}, {result['num_images']} images, K = {result['num_parts']}, "
        f"seed {result['seed']}; protocol {result['protocol']}{conventions}"
    )
    columns = {key: title for key, title in COLUMNS.items() if key in result["annotated_masks"]}
    lines = [head, " " * 28 + "".join(f"{title:>8}" for title in columns.values())]
    for kind in ("annotated", "predicted"):
        scores = result[f"{kind}_masks"]
        if scores is not None:
            iou = f" (IoU {scores['mean_iou']:.1f})" if "mean_iou" in scores else ""
            lines.append(f"{f'{kind} masks{iou}':<28}" + "".join(_cell(scores[key]) for key in columns))
    if "kp_all" in columns:
        lines.append(
            "kp: keypoint error in percent of the box, lower is better; the others in percent, higher is better"
        )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.1f'):>8}"
