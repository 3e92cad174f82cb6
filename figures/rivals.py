"""Rivals without training: feature k-means whose borders are moved to edges of the image.

    python figures/rivals.py --data birds --num-parts 4            # into figures/results/birds-k4-rivals.json
    python figures/rivals.py --data ccp --num-parts 4 --root FOLDER

Superpixels (SLIC): every superpixel takes the part that most of its pixels have. Guided filter (He, Sun, Tang, ECCV
2010): the scores of each part are smoothed, but not across edges. Their settings are the best of a few on the
validation split; test scores are those of five seeds of k-means.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor
from torch.nn import functional as F

from partlib.augment import gray
from partlib.config import TrainConfig, default_preset
from partlib.data.base import PartDataset, stacked
from partlib.evaluation import score
from partlib.report import tables as report
from partlib.report.baselines import FeatureKMeans
from partlib.runs import checkpoint
from partlib.runs.build import Recipe
from partlib.segmenter import likeliest_part

RESULTS = Path(__file__).parent / "results"
SUPERPIXELS = (50, 100, 200, 400)  # of the object
GUIDED = [(radius, eps) for radius in (4, 8, 16) for eps in (1e-3, 1e-2)]  # pixels, and variance of gray in [0, 1]
Refine = Callable[[Tensor, Tensor, Tensor], Tensor]  # image (3, H, W), inside (H, W) bool, scores (K, H, W) -> 0..K-1


def nearest(image: Tensor, inside: Tensor, scores: Tensor) -> Tensor:
    """Feature k-means itself."""
    return likeliest_part(scores[None])[0] - 1


def superpixels(number: int, image: Tensor, inside: Tensor, scores: Tensor) -> Tensor:
    labels = nearest(image, inside, scores)  # (H, W)
    if not inside.any():
        return labels
    segments = torch.from_numpy(slic(image.permute(1, 2, 0).numpy(), number, mask=inside.numpy(), start_label=1))
    votes = torch.zeros(int(segments.max()) + 1, len(scores))
    votes.index_put_((segments.flatten(), labels.flatten()), torch.ones(labels.numel()), accumulate=True)
    return votes.argmax(dim=1)[segments]


def guided_filter(setting: tuple[int, float], image: Tensor, inside: Tensor, scores: Tensor) -> Tensor:
    """In every window the smoothed score is the line a gray + b that fits best; a pixel takes the mean of its lines."""
    radius, eps = setting
    guide, weight = gray(image[None])[0], inside[None].float()  # (1, H, W) each
    probability = scores.softmax(dim=0)  # (K, H, W)

    def mean(x: Tensor) -> Tensor:  # over the pixels of the object in each window
        box = F.avg_pool2d(torch.cat([x * weight, weight])[None], 2 * radius + 1, 1, radius)[0]
        return box[:-1] / box[-1:].clamp(min=1e-6)

    m, p = mean(guide), mean(probability)
    a = (mean(guide * probability) - m * p) / (mean(guide * guide) - m * m + eps)
    b = p - a * m
    return (mean(a) * guide + mean(b)).argmax(dim=0)


def refined(refine: Refine, dataset: PartDataset, scores: Tensor) -> dict[str, float]:
    """Scores in percent of the data set's images, divided by ``refine``; ``scores`` (N, K, H, W)."""
    labels = []
    for i, found in enumerate(scores):
        sample = dataset[i]
        inside = sample.foreground[0] > 0.5  # (H, W)
        labels.append((refine(sample.image, inside, found.float()) + 1) * inside)
    values = score(torch.stack(labels), dataset)
    return {key: values[key] for key in ("fg_nmi", "fg_ari")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="birds")
    parser.add_argument("--root", default="")
    parser.add_argument("--num-parts", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    config = TrainConfig.preset(default_preset(given.data), data=given.data, root=given.root)
    recipe = Recipe(config)
    train, features = stacked(recipe.dataset()), report.features(recipe)
    sets = {split: recipe.dataset(split) for split in ("val", "test")}
    given_to = {split: (*stacked(dataset), report.features(recipe, dataset)) for split, dataset in sets.items()}
    methods = {"superpixels": (superpixels, SUPERPIXELS), "guided filter": (guided_filter, GUIDED)}
    chosen: dict[str, Any] = {}
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("feature k-means", *methods)}
    for seed in given.seeds:
        model = FeatureKMeans(given.num_parts, seed).fit(*train, features)
        scores = {split: torch.cat([s.half() for s in model.scores(*its)]) for split, its in given_to.items()}
        found["feature k-means"][str(seed)] = refined(nearest, sets["test"], scores["test"])
        for name, (method, settings) in methods.items():
            if name not in chosen:  # once, on the validation split
                tried = {s: refined(partial(method, s), sets["val"], scores["val"])["fg_nmi"] for s in settings}
                chosen[name] = max(tried, key=tried.__getitem__)
            found[name][str(seed)] = refined(partial(method, chosen[name]), sets["test"], scores["test"])
        print(seed, {name: np.round(list(seeds[str(seed)].values()), 1).tolist() for name, seeds in found.items()})
    command = f"python figures/rivals.py --data {given.data} --num-parts {given.num_parts}"
    stored = {"command": command, "environment": report.environment(), "settings": chosen, "scores": found}
    checkpoint.write_json(RESULTS / f"{given.data}-k{given.num_parts}-rivals.json", stored)


if __name__ == "__main__":
    main()
