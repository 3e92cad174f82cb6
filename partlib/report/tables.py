"""A trained segmenter beside every baseline, as scores, table and picture: ``partlib demo`` and ``evaluate``."""

import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import partlib
from partlib.config import TrainConfig
from partlib.data.base import PartDataset
from partlib.errors import DataError
from partlib.evaluation import predict, score
from partlib.features import DEFAULT_LAYERS, FeatureBank
from partlib.metrics import part_share
from partlib.report import plots
from partlib.report.baselines import fit_baselines
from partlib.runs import checkpoint
from partlib.segmenter import PartSegmenter
from partlib.sources import dataset_features, pick_device, training_data
from partlib.training import load_or_train

SCORES = ("fg_nmi", "fg_ari", "nmi", "ari")


@dataclass
class Evaluation:
    """Scores of a run on one split and the labels they were computed from.

    Attributes
    ----------
    metrics : what ``metrics.json`` holds: data, split, num_parts, seed, ours, baselines, part_share.
    labels : name ("ours" or a baseline's) -> (N, H, W) uint8.
    """

    metrics: dict
    labels: dict[str, Tensor]


def stacked(dataset: PartDataset) -> tuple[Tensor, Tensor]:
    """All images (N, 3, H, W) and foregrounds (N, 1, H, W) of a data set."""
    first = dataset[0]
    # filled one by one: a list of all samples beside the stack would double the memory
    images = torch.empty(len(dataset), *first.image.shape)  # (N, 3, H, W)
    foregrounds = torch.empty(len(dataset), *first.foreground.shape)  # (N, 1, H, W)
    for i in range(len(dataset)):
        sample = dataset[i]
        images[i], foregrounds[i] = sample.image, sample.foreground
    return images, foregrounds


def evaluate(
    segmenter: PartSegmenter, config: TrainConfig, dataset: PartDataset, *, with_baselines: bool = False
) -> Evaluation:
    """Score a segmenter, and on request every baseline, on ``dataset``.

    Baselines are fitted to the training split of the run's own data with as many parts, and see the same frozen
    features that the run was trained with.

    Raises
    ------
    DataError : the data set has no part annotation to score against.
    """
    if dataset[0].parts is None:
        raise DataError(
            f"data set {dataset.name!r} has no part annotation; `partlib segment` draws parts without one, and "
            "`partlib evaluate --protocol cub` scores them where there are keypoints"
        )
    # a training may have come before
    labels = {"ours": predict(segmenter, dataset)}
    if with_baselines:
        labels |= baseline_labels(config, dataset)
    # images and features
    scores = {name: score(found, dataset) for name, found in labels.items()}
    metrics = {
        "data": dataset.name,
        "split": dataset.split,
        "num_parts": config.num_parts,
        "seed": config.seed,
        "ours": scores.pop("ours"),
        "baselines": scores,
        "part_share": part_share(labels["ours"], config.num_parts).tolist(),
    }
    return Evaluation(metrics, labels)


def baseline_labels(config: TrainConfig, dataset: PartDataset) -> dict[str, Tensor]:
    """Labels (N, H, W) of ``dataset`` by every baseline, fitted to the training split that ``config`` names.

    Those that use features get the coarse ones alone, :data:`partlib.features.DEFAULT_LAYERS`, where a configuration
    has finer ones beside them: these make clusters worse, and a baseline is worth beating at its best.
    """
    device = pick_device()
    bank = dataset_features(config, "train", device)
    # the training images have no name here, so that they are freed before the others are stacked
    fitted = fit_baselines(*stacked(training_data(config)), _coarse(bank), config.num_parts, seed=config.seed)
    # Only images that the configuration itself names can be had at feature_size; others are enlarged.
    own = dataset.name == config.data and training_data(config, dataset.split).fingerprint() == dataset.fingerprint()
    test_bank = dataset_features(config, dataset.split, device, None if own else dataset)
    images, foregrounds = stacked(dataset)
    return {
        name: model.predict(images, foregrounds, _coarse(test_bank)).to(torch.uint8) for name, model in fitted.items()
    }


def _coarse(bank: FeatureBank) -> list[np.ndarray]:
    """The levels of the layers that a network has by default; all where there is none of them."""
    default = {layer for layers in DEFAULT_LAYERS.values() for layer in layers}
    levels = [level for layer, level in zip(bank.layers, bank.levels, strict=True) if layer in default]
    return levels or bank.levels


def table(metrics: dict) -> str:
    """The scores as text, best baseline first, ours last."""
    rows = sorted(metrics["baselines"].items(), key=lambda item: -item[1]["fg_nmi"])
    rows.append(("ours", metrics["ours"]))
    title = f"{metrics['data']} {metrics['split']}, K = {metrics['num_parts']}, seed {metrics['seed']}"
    lines = [f"{title:<32} FG-NMI  FG-ARI     NMI     ARI"]
    lines += [f"{name:<32}" + "".join(f"{values[s]:7.1f} " for s in SCORES).rstrip() for name, values in rows]
    shares = "  ".join(f"{share:.1%}" for share in metrics["part_share"])
    return "\n".join([*lines, f"share of the foreground per part: {shares}"])


def picture(evaluation: Evaluation, dataset: PartDataset, path: Path, columns: int = 8) -> None:
    """Grid of images, ground truth, the best baseline and ours, evenly spread over the data set, as a PNG."""
    baselines = evaluation.metrics["baselines"]
    best = max(baselines, key=lambda name: baselines[name]["fg_nmi"]) if baselines else None
    pick = torch.linspace(0, len(dataset) - 1, min(columns, len(dataset))).round().int().tolist()
    plots.results_grid(
        [dataset[i] for i in pick],
        {name: evaluation.labels[name][pick] for name in (best, "ours") if name is not None},
        path,
        part_names=dataset.part_names,
    )


def demo(config: TrainConfig, out: Path, device: str = "auto") -> Evaluation:
    """Train (or load what an earlier call trained), score beside the baselines, write metrics.json and parts.png."""
    result = load_or_train(config, out, device=device)
    test_set = training_data(config, "test")
    evaluation = evaluate(result.segmenter, config, test_set, with_baselines=True)
    checkpoint.write_json(out / "metrics.json", evaluation.metrics)
    picture(evaluation, test_set, out / "parts.png")
    print(table(evaluation.metrics))
    print(f"picture of the parts: {out / 'parts.png'}")
    return evaluation


def environment() -> dict[str, str]:
    """What a result depends on besides its configuration: versions and hardware."""
    import timm
    import torchvision

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {
        "partlib": partlib.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "device": device,
    }
