"""A run scored by a protocol of the paper, with annotated and with predicted masks: ``partlib evaluate --protocol``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch

from partlib.config import TrainConfig
from partlib.data import load_dataset, read_options
from partlib.data.base import ArrayDataset
from partlib.errors import ConfigError
from partlib.masks.predicted import WHOLE_PHOTOGRAPHS, load_with_masks, mean_iou, sample_names
from partlib.paper import release_data
from partlib.paper.protocols import CUB_CLASSES, cub, pixels
from partlib.segmenter import PartSegmenter

PROTOCOLS = ("cub", "deepfashion", "pascal-part", "pixels")
COLUMNS = {f"kp_{name}": f"kp {name}" for name in (*CUB_CLASSES, "all")}
COLUMNS |= {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"}


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
    """What the JSON holds: scores on the data set of ``config``, with annotated masks and with those in a folder."""
    name = config.data
    allowed = [known for known in PROTOCOLS if known in ("cub", "pixels", name)]
    protocol = protocol or (name if name in allowed else "pixels")
    if protocol not in allowed:
        raise ConfigError(f"--protocol {protocol} cannot score {name!r}; expected one of {', '.join(allowed)}")
    if protocol == "pixels" and reproduce_release:
        raise ConfigError("protocol pixels is not one of the release; drop --reproduce-release, or name its data set's")

    # The images, once with each kind of mask. Those without annotated foreground are in neither.
    options = release_data.OPTIONS.get(name, {}) if reproduce_release else {}
    options = options | read_options(name, config.data_options)
    if name in WHOLE_PHOTOGRAPHS:
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
        scores = cub(segmenter, train, tests, reproduce_release)
    else:
        gray = None
        if protocol == "deepfashion" and reproduce_release and tests[0].photos is not None:
            values = [release_data.labels_as_gray_values(Path(photo), config.image_size) for photo in tests[0].photos]
            gray = torch.from_numpy(np.stack(values))  # (N, H, W)
        scores = [pixels(segmenter, test, gray) for test in tests]
    if masks is not None:
        wanted, found = (torch.stack([one[i].foreground[0] >= 0.5 for i in range(len(one))]) for one in tests)
        scores[1]["mean_iou"] = mean_iou(found, wanted)
    known: dict[str, Any] = {"protocol": protocol, "data": name, "split": split, "options": list(config.data_options)}
    known |= {"num_images": len(tests[0]), "num_parts": config.num_parts, "seed": config.seed}
    kinds = {"annotated_masks": scores[0], "predicted_masks": scores[1] if masks is not None else None}
    return {**known, "reproduce_release": reproduce_release, **kinds}


def table(result: dict[str, Any]) -> str:
    """The scores of :func:`evaluate` as text: one line per kind of mask."""
    rows: dict[str, Any] = {}
    for kind in ("annotated", "predicted"):
        scores = result[f"{kind}_masks"] or {}
        iou = f" (IoU {scores['mean_iou']:.1f})" if "mean_iou" in scores else ""
        rows |= {f"{kind} masks{iou}": scores} if scores else {}
    frame = pandas.DataFrame.from_dict(rows, orient="index", dtype=float)
    frame = frame[[name for name in COLUMNS if name in frame]].rename(columns=COLUMNS)
    head = "{data} {split}, {num_images} images, K = {num_parts}, seed {seed}; protocol {protocol}".format(**result)
    head += ", conventions of the release" if result["reproduce_release"] else ""
    unit = "percent; kp: keypoint error in percent of the box, lower is better; the others, higher is better"
    return "\n".join([head, frame.to_string(float_format="{:.1f}".format, na_rep="-"), unit])
