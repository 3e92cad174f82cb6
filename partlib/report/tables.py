"""A trained segmenter beside every baseline, as scores, table and picture: ``partlib demo`` and ``evaluate``."""

import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from partlib.config import TrainConfig
from partlib.data.base import Batch, Column, PartDataset
from partlib.errors import DataError
from partlib.evaluation import Segment, evaluate_all, network
from partlib.features import DEFAULT_LAYERS
from partlib.metrics import part_share
from partlib.report import plots
from partlib.report.baselines import Baseline, fit_baselines
from partlib.runs import checkpoint, load_or_train
from partlib.runs.build import Recipe, pick_device, release_memory
from partlib.segmenter import PartSegmenter

SCORES = {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI"}


class Evaluation(NamedTuple):
    metrics: dict  # what metrics.json holds: data, split, num_parts, seed, ours, baselines, part_share
    labels: dict[str, Tensor]  # "ours" or a baseline's name -> (N, H, W) uint8


def evaluate(
    segmenter: PartSegmenter,
    config: TrainConfig,
    dataset: PartDataset,
    with_baselines: bool = False,
    recipe: type[Recipe] = Recipe,
) -> Evaluation:
    """Score a segmenter, and on request every baseline, on ``dataset``, which is read once for all of them."""
    if dataset[0].parts is None:
        remedy = "use `partlib segment`, or `partlib evaluate --protocol cub` where there are keypoints"
        raise DataError(f"data set {dataset.name!r} has no part annotation to score; {remedy}")
    methods = {"ours": network(segmenter), **(baselines(recipe(config), dataset) if with_baselines else {})}
    labels, scores = evaluate_all(methods, dataset)
    metrics = {"data": dataset.name, "split": dataset.split, "num_parts": config.num_parts, "seed": config.seed}
    metrics |= {"ours": scores.pop("ours"), "baselines": scores}
    return Evaluation(metrics | {"part_share": part_share(labels["ours"], config.num_parts).tolist()}, labels)


def baselines(recipe: Recipe, dataset: PartDataset) -> dict[str, Segment]:
    """Every baseline as a method for ``dataset``: as many parts, fitted to the training split of the run."""
    c = recipe.config
    train_set = recipe.dataset(fixed_crop=True)
    images, masks = Column(train_set, "image"), Column(train_set, "foreground")
    fitted = fit_baselines(images, masks, features(recipe), c.num_parts, c.seed)
    release_memory()  # what fitting has left in pieces
    levels = features(recipe, dataset)

    def segment(model: Baseline, batch: Batch, indices: list[int]) -> Tensor:
        return model.predict(batch.images, batch.foreground, [level[indices[0] : indices[-1] + 1] for level in levels])

    return {name: partial(segment, model) for name, model in fitted.items()}


def features(recipe: Recipe, dataset: PartDataset | None = None) -> list[np.ndarray]:
    """What baselines see of ``dataset``, or of the training split: (N, C, h, w) per layer, without those too fine."""
    if dataset is None:
        cached = recipe.features("train", pick_device())
    else:  # only images that the configuration itself names can be had at feature_size; others are enlarged
        own = dataset.name == recipe.config.data
        own = own and recipe.dataset(dataset.split).fingerprint() == dataset.fingerprint()
        cached = recipe.features(dataset.split, pick_device(), None if own else dataset)
    default = sum(DEFAULT_LAYERS.values(), ())  # finer ones make clusters worse; baselines shall be at their best
    return [maps for layer, maps in zip(cached.layers, cached.maps, strict=True) if layer in default] or cached.maps


def table(metrics: dict) -> str:
    """The scores as text, best baseline first, ours last."""
    frame = pd.DataFrame.from_dict(metrics["baselines"], orient="index", columns=list(SCORES))
    frame = frame.sort_values("fg_nmi", ascending=False)
    frame.loc["ours"] = metrics["ours"]
    frame.columns = pd.Index(SCORES.values(), name="{data} {split}, K = {num_parts}, seed {seed}".format(**metrics))
    shares = "  ".join(f"{share:.1%}" for share in metrics["part_share"])
    return frame.to_string(float_format="{:.1f}".format) + f"\nshare of the foreground per part: {shares}"


def picture(evaluation: Evaluation, dataset: PartDataset, path: Path, columns: int = 8) -> None:
    """Grid of images, ground truth, the best baseline and ours, evenly spread over the data set, as a PNG."""
    scores = evaluation.metrics["baselines"]
    best = max(scores, key=lambda name: scores[name]["fg_nmi"], default="ours")
    pick = torch.linspace(0, len(dataset) - 1, min(columns, len(dataset))).round().int().tolist()
    found = {name: evaluation.labels[name] for name in (best, "ours")}
    plots.results_grid(dataset, found, path, pick=pick, part_names=dataset.part_names)


def demo(config: TrainConfig, out: Path, device: str = "auto", recipe: type[Recipe] = Recipe) -> Evaluation:
    """Train (or load what an earlier call trained), score beside the baselines, write metrics.json and parts.png."""
    result = load_or_train(config, out, device=device, recipe=recipe)
    test_set = recipe(config).dataset("test")
    evaluation = evaluate(result.segmenter, config, test_set, with_baselines=True, recipe=recipe)
    checkpoint.write_json(out / "metrics.json", evaluation.metrics)
    picture(evaluation, test_set, out / "parts.png")
    print(f"{table(evaluation.metrics)}\npicture of the parts: {out / 'parts.png'}")
    return evaluation


def environment() -> dict[str, str]:
    """What a result depends on besides its configuration: versions and hardware."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = {name: version(name) for name in ("partlib", "torchvision", "timm")}
    return {"python": platform.python_version(), "torch": torch.__version__, **versions, "device": device}
