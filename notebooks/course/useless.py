"""Lesson 00: clusters of single images, one of the useless solutions, and a heat map of what the losses say of all."""

import math
from collections.abc import Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import Tensor

from partlib.features import foreground_cells
from partlib.segmenter import resize


def clusters_of_each_image(maps: Sequence[Tensor], foreground: Tensor, num_parts: int) -> Tensor:
    """Numbers 0..K-1, (N, H, W), from k-means on the pixels of each image for itself.

    ``maps`` are colors or features (N, C_l, h_l, w_l), the foreground is (N, 1, H, W). Off it a pixel joins the
    nearest center, too. Nothing connects the numbers of two images: cluster 1 of one may be cluster 3 of the next.
    """
    from sklearn.cluster import KMeans  # imported on use: it takes a second

    size = max((z.shape[-2:] for z in maps), key=math.prod)
    inside = foreground_cells(foreground, size)[:, 0]  # (N, h, w)
    labels = []
    for i, mask in enumerate(inside):
        cells = torch.cat([resize(z[i : i + 1], size)[0] for z in maps])  # (C, h, w)
        vectors = cells[:, mask].T  # (P, C)
        drawn = vectors[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))[:4000]]
        centers = torch.from_numpy(KMeans(num_parts, n_init=3, random_state=0).fit(drawn.numpy()).cluster_centers_)
        scores = torch.einsum("kc,chw->khw", 2 * centers, cells) - (centers**2).sum(1)[:, None, None]  # (K, h, w)
        labels.append(resize(scores[None], foreground.shape[-2:])[0].argmax(0))  # (H, W)
    return torch.stack(labels)


def loss_heat_map(table: pd.DataFrame) -> Figure:
    """A row for every solution, the trained network last; a column for every loss, their sum last.

    The color says where in its column a number lies: dark is low.
    """
    span = (table - table.min()) / (table.max() - table.min())
    figure = Figure(figsize=(9.6, 3.8))
    axes = figure.subplots()
    options = {"cmap": "viridis", "linewidths": 2, "cbar": False, "annot_kws": {"size": 11}}
    sns.heatmap(span, annot=table, fmt=".2f", ax=axes, **options)
    axes.tick_params(length=0, labelrotation=0, labelsize=10)
    axes.xaxis.tick_top()
    axes.axhline(len(table) - 1, color="white", linewidth=7)
    axes.axvline(table.shape[1] - 1, color="white", linewidth=7)
    return figure
