"""Lesson 00: five useless solutions, and what each of the four losses says of them, beside a trained network."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from partlib_course.consistency import image_clusters
from partlib_course.visual import color_clusters, one_hot
from torch import Tensor

from partlib import warps
from partlib.config import LOSSES
from partlib.data.base import Batch
from partlib.objective import Objective
from partlib.segmenter import PartSegmenter

SURE = 8.0  # logit of the part that a solution gives to a pixel; 0 for the others
Divide = Callable[[Tensor, Tensor], Tensor]  # images (B, 3, H, W), foreground (B, 1, H, W) -> logits (B, K, H, W)


def solutions(num_parts: int, extractor: Callable[[Tensor], list[Tensor]]) -> dict[str, Divide]:
    """Divisions that are no parts, by name; ``extractor`` gives the frozen features of images."""

    def same(images: Tensor, foreground: Tensor) -> Tensor:
        return torch.zeros(len(images), num_parts, *images.shape[-2:])

    def one(images: Tensor, foreground: Tensor) -> Tensor:
        logits = same(images, foreground)
        logits[:, 0] = SURE
        return logits

    def colors(images: Tensor, foreground: Tensor) -> Tensor:
        clusters = [color_clusters(*pair, num_parts) for pair in zip(images, foreground, strict=True)]
        return SURE * one_hot(torch.stack(clusters), num_parts)

    def features(images: Tensor, foreground: Tensor) -> Tensor:
        return SURE * one_hot(image_clusters(extractor(images), foreground, num_parts), num_parts)

    def quarters(images: Tensor, foreground: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        row, column = torch.arange(height)[:, None] * 2 // height, torch.arange(width) * 2 // width
        return SURE * one_hot((2 * row + column + 1).expand(len(images), -1, -1), num_parts)

    names = ("one part for everything", "the same everywhere", "clusters of colour", "clusters of features")
    return dict(zip((*names, "quarters of the picture"), (one, same, colors, features, quarters), strict=True))


@torch.no_grad()
def loss_table(
    batch: Batch,
    features: Sequence[Tensor],  # of the images, as the losses read them
    extractor: Callable[[Tensor], list[Tensor]],
    trained: PartSegmenter,
    temperature: float,
) -> pd.DataFrame:
    """Rows: the useless solutions and the trained network; columns: the four losses, on images and their warps."""
    grid = warps.thin_plate_grid(
        warps.random_points(len(batch.images), torch.Generator().manual_seed(0)), batch.images.shape[-2:]
    )
    views = (batch.images, batch.foreground), tuple(warps.warp(z, grid) for z in (batch.images, batch.foreground))
    objective, weights = Objective(temperature), dict.fromkeys(LOSSES, 1.0)
    every: Mapping[str, Divide] = solutions(trained.num_parts, extractor)
    rows = {}
    for name, divide in {**every, "trained network": lambda images, foreground: trained(images)}.items():
        logits = [divide(images, (foreground > 0.5).float()) for images, foreground in views]
        terms = objective.terms(logits, batch.foreground, list(features), objective.lab(batch.images), grid, weights)
        rows[name] = {loss: terms[loss].item() for loss in LOSSES}
    return pd.DataFrame(rows).T


def loss_heat_map(table: pd.DataFrame) -> Figure:
    """The numbers of :func:`loss_table`; the color says where in its column a number lies, dark is low."""
    span = (table - table.min()) / (table.max() - table.min())
    figure = Figure(figsize=(8.4, 3.6))
    axes = figure.subplots()
    options = {"cmap": "viridis", "linewidths": 2, "cbar": False, "annot_kws": {"size": 10}}
    sns.heatmap(span, annot=table, fmt=".2f", ax=axes, **options)
    axes.tick_params(length=0, labelrotation=0)
    axes.xaxis.tick_top()
    axes.axhline(len(table) - 1, color="white", linewidth=6)
    return figure
