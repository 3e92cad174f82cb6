"""Lesson 05, feature consistency: clusters of single images, and the figures."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from torch import Tensor

from partlib.report.plots import PART_COLORS
from partlib.segmenter import resize

CELLS = 32  # side of the grid that clusters of single images are fitted on


def image_clusters(features: Sequence[Tensor], foreground: Tensor, num_parts: int, seed: int = 0) -> Tensor:
    """K-means on the features of each image for itself: (nearly) the lowest feature loss that K parts can have.

    Features are maps (N, C_l, h_l, w_l), the foreground is (N, 1, H, W). Labels (N, H, W) are 0 off the object, 1..K on
    it. Nothing connects the numbers of two images: cluster 1 of one may be cluster 3 of the next.
    """
    inside = resize(foreground, (CELLS, CELLS))[:, 0] > 0.5  # (N, CELLS, CELLS)
    labels = torch.zeros(len(foreground), *foreground.shape[-2:], dtype=torch.long)
    for i, mask in enumerate(inside):
        cells = torch.cat([resize(level[i : i + 1], (CELLS, CELLS))[0] for level in features])  # (C, CELLS, CELLS)
        fitted = KMeans(num_parts, n_init=3, random_state=seed).fit(cells[:, mask].T.numpy())  # (P, C)
        means = torch.from_numpy(fitted.cluster_centers_).float()  # (K, C)
        scores = torch.einsum("kc,chw->khw", 2 * means, cells) - (means**2).sum(1)[:, None, None]
        nearest = resize(scores[None], foreground.shape[-2:])[0].argmax(0) + 1  # (H, W)
        labels[i] = nearest * (foreground[i, 0] > 0.5)
    return labels


def loss_against_score(losses: Mapping[str, float], scores: Mapping[str, float]) -> Figure:
    """Segmentations by their feature loss (x) and their score (y), each with its name."""
    figure = Figure(figsize=(9.6, 3.6))
    ax = figure.subplots()
    for k, (name, loss) in enumerate(losses.items(), start=1):
        ax.scatter(loss, scores[name], s=60, zorder=3)
        offset = (8, -12 if k % 4 == 0 else 4)  # above and below, as neighbors are often close
        ax.annotate(name, (loss, scores[name]), xytext=offset, textcoords="offset points", fontsize=9)
    ax.margins(x=0.25, y=0.15)
    ax.set(xlabel="feature loss (lower is what the loss wants)", ylabel="FG-NMI")
    ax.grid()
    return figure


def descent_curves(curves: Mapping[str, Sequence[float]], limit: float, title: str) -> Figure:
    """Losses over steps from several starts, and a dotted line at ``limit`` with its title."""
    figure = Figure(figsize=(9.6, 3.6))
    ax = figure.subplots()
    dashes = ["", (4, 2), (6, 2, 1, 2)][: len(curves)]
    sns.lineplot(pd.DataFrame(curves), lw=2, palette=list(PART_COLORS[: len(curves)]), dashes=dashes, ax=ax)
    ax.axhline(limit, color="black", lw=1.5, ls=":", label=title)
    ax.set(xlabel="step", ylabel="feature loss", ylim=(0, None))
    ax.legend(loc="lower right")
    ax.grid()
    return figure
