"""Figures of the notebook on features: false colours, spotlights on components, curves over a distance."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from partlib_course.figures import PALE, false_colors
from torch import Tensor
from torch.nn import functional as F

from partlib.errors import DataError
from partlib.report.plots import INK, part_color
from partlib.segmenter import resize


def feature_colors(maps: Tensor, foregrounds: Tensor) -> Tensor:
    """Feature maps as pictures: the first three principal components of the foreground's cells, one map for all images.

    Parameters
    ----------
    maps : (N, C, h, w).
    foregrounds : (N, 1, H, W).

    Returns
    -------
    (N, 3, h, w) in [0, 1], background included: equal colours mean similar features in all images.
    """
    if len(maps) != len(foregrounds):
        raise DataError(f"features of {len(maps)} images but {len(foregrounds)} foregrounds; expected as many")
    inside = F.adaptive_avg_pool2d((foregrounds > 0.5).float(), (maps.shape[-2], maps.shape[-1]))  # (N, 1, h, w)
    strip = maps.permute(1, 0, 2, 3).flatten(1, 2)  # (N, C, h, w) -> (C, N h, w)
    mean, directions, (low, high) = false_colors(strip, inside.permute(1, 0, 2, 3).flatten(1, 2))  # (1, N h, w)
    projected = (maps.movedim(1, -1) - mean) @ directions  # (N, h, w, 3)
    return ((projected - low) / (high - low)).clamp(0, 1).movedim(-1, 1)  # (N, 3, h, w)


def blocks(maps: Tensor, size: int) -> Tensor:
    """Maps (N, C, h, w) enlarged to (N, C, size, size) with every cell visible as a square."""
    return F.interpolate(maps, size=(size, size), mode="nearest")


def spotlight(images: Tensor, weights: Tensor, foregrounds: Tensor) -> Tensor:
    """Images that show through where a weight is large, and are pale elsewhere.

    Parameters
    ----------
    images : (N, 3, H, W).
    weights : (N, h, w), 0 or larger; upsampled, and divided by the largest of all.
    foregrounds : (N, 1, H, W).

    Returns
    -------
    (N, 3, H, W).
    """
    shown = resize(weights[:, None].clamp(min=0), images.shape[-2:])  # (N, 1, H, W)
    shown = (shown / shown.max().clamp(min=1e-9)) * foregrounds
    return images * shown + PALE * (1 - shown)


def distance_curves(
    curves: Mapping[str, Sequence[float]], distances: Sequence[float], left: str, right: str, ylabel: str
) -> Figure:
    """Curves over the signed distance to an outline, which stands at 0.

    Parameters
    ----------
    curves : name -> a value for each distance.
    distances : in pixels, negative on the left side.
    left, right : what the two sides are.
    ylabel : what is measured.
    """
    figure, ax = plt.subplots(figsize=(7.6, 3.6), dpi=100, layout="constrained")
    for k, (name, values) in enumerate(curves.items(), start=1):
        ax.plot(distances, values, color=part_color(k), lw=2, marker="o", ms=3, label=name)
    ax.axvline(0, color=INK, lw=1, ls="--")
    for x, text, side in ((0.02, left, "left"), (0.98, right, "right")):
        ax.text(x, 0.97, text, transform=ax.transAxes, ha=side, va="top", fontsize=9, color=INK)
    ax.set_ylim(0, 1.15 * max(max(values) for values in curves.values()) + 1e-9)
    ax.set_xlabel("distance from the outline, pixels", fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    plt.close(figure)
    return figure


def bars(values: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Groups of bars: ``values[group][series]``."""
    series = list(dict.fromkeys(name for group in values.values() for name in group))
    figure, ax = plt.subplots(figsize=(7.6, 3.0), dpi=100, layout="constrained")
    width = 0.8 / len(series)
    places = torch.arange(len(values)).numpy()
    for k, name in enumerate(series):
        heights = [group.get(name, float("nan")) for group in values.values()]
        ax.bar(places + (k - (len(series) - 1) / 2) * width, heights, width, color=part_color(k + 1), label=name)
    ax.set_xticks(places, list(values), fontsize=9)
    ax.set_ylabel(ylabel, fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
