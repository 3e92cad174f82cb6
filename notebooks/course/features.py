"""Lesson 03: features as false colors, cells and what is like them, curves over a distance, clusters to choose from."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from partlib_course.widgets import Interactive, choice, slider
from torch import Tensor
from torch.nn import functional as F

from partlib.data.base import PartDataset, stacked
from partlib.evaluation import annotated_parts
from partlib.features import foreground_cells
from partlib.report.baselines import FeatureKMeans
from partlib.report.plots import INK, match_parts, overlay, parts_grid, to_rgb_array
from partlib.segmenter import resize

PALE = 0.92  # gray of what lies outside the object
LEAST_SHARE = 0.2  # of the object in a cell that is drawn
Levels = Sequence[Tensor | np.ndarray]


def false_colors(features: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The map from features (C, H, W) to colors that shows most of their variation over the foreground (1, H, W).

    Returns mean (C,), directions (C, 3) and limits (2, 3), so that for ``low, high = limits`` the color
    ``((z - mean) @ directions - low) / (high - low)`` is mostly in [0, 1].
    """
    vectors = features.movedim(0, -1)[foreground[0] > 0.5]  # (pixels, C)
    mean = vectors.mean(0)
    _, _, directions = torch.linalg.svd((vectors - mean).T @ (vectors - mean))
    axes = directions[:3].T  # (C, 3)
    axes = axes * torch.sign(axes.sum(0))  # a principal axis has no sign of its own
    limits = torch.quantile((vectors - mean) @ axes, torch.tensor([0.02, 0.98]).to(vectors), dim=0)  # (2, 3)
    return mean, axes, limits


def color_axes(maps: Tensor, foregrounds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`false_colors` of several images at once: maps (N, C, h, w), foregrounds (N, 1, H, W)."""
    inside = foreground_cells(foregrounds, maps.shape).float()  # (N, 1, h, w)
    return false_colors(*(z.permute(1, 0, 2, 3).flatten(1, 2) for z in (maps, inside)))  # (N, C, h, w) -> (C, N h, w)


def feature_colors(maps: Tensor, foregrounds: Tensor) -> Tensor:
    """Maps (N, C, h, w) as pictures (N, 3, h, w) in [0, 1]: equal colors are similar features, in all images.

    Cells that hold next to nothing of the object are pale: their colors would be clipped, and a distraction.
    """
    mean, directions, (low, high) = color_axes(maps, foregrounds)
    projected = (maps.movedim(1, -1) - mean) @ directions  # (N, h, w, 3)
    colors = ((projected - low) / (high - low)).clamp(0, 1).movedim(-1, 1)  # (N, 3, h, w)
    share = F.adaptive_avg_pool2d((foregrounds > 0.5).float(), (maps.shape[-2], maps.shape[-1]))  # (N, 1, h, w)
    return torch.where(share > LEAST_SHARE, colors, PALE)


def blocks(maps: Tensor, size: int) -> Tensor:
    """Maps (N, C, h, w) enlarged to (N, C, size, size) with every cell visible as a square."""
    return F.interpolate(maps, size=(size, size), mode="nearest")


def spotlight(images: Tensor, weights: Tensor, foregrounds: Tensor) -> Tensor:
    """Images (N, 3, H, W) that show through where a weight (N, h, w), 0 or larger, is large, and are pale elsewhere."""
    shown = resize(weights[:, None].clamp(min=0), images.shape[-2:])  # (N, 1, H, W)
    shown = (shown / shown.max().clamp(min=1e-9)) * foregrounds
    return images * shown + PALE * (1 - shown)


def distance_curves(
    curves: Mapping[str, Sequence[float]], distances: Sequence[float], left: str, right: str, ylabel: str
) -> Figure:
    """Curves over the signed distance to an outline in pixels, negative on the side called ``left``."""
    figure = Figure(figsize=(9.6, 3.8))
    ax = figure.subplots()
    for name, values in curves.items():
        ax.plot(distances, values, lw=2, marker="o", ms=3, label=name)
    ax.axvline(0, color="black", lw=1, ls="--")
    for x, text, side in ((0.02, left, "left"), (0.98, right, "right")):
        ax.text(x, 0.97, text, transform=ax.transAxes, ha=side, va="top", fontsize=9)
    ax.set_ylim(0, 1.15 * max(max(values) for values in curves.values()) + 1e-9)
    ax.set(xlabel="distance from the outline, pixels", ylabel=ylabel)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.grid()
    return figure


def bars(values: Mapping[str, Mapping[str, float]], ylabel: str, limit: float, limit_name: str) -> Figure:
    """Groups of bars with their numbers: ``values[group][series]``; a dashed line at ``limit``."""
    figure = Figure(figsize=(9.6, 3.4))
    ax = figure.subplots()
    pd.DataFrame(values).T.plot.bar(ax=ax, width=0.8, rot=0, ylabel=ylabel)
    ax.axhline(limit, ls="--", color=INK, lw=1.2, label=limit_name)
    for container in ax.containers:
        ax.bar_label(container, fmt="%.0f", padding=2, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    ax.set_ylim(0, 105)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def patch_figure(
    images: Tensor, foregrounds: Tensor, maps: Tensor, cells: Mapping[str, tuple[int, int, int]]
) -> Figure:
    """A row for every chosen cell (image, row, column): where it is, and how similar the cells of all images are to it.

    Images (M, 3, H, W), foregrounds (M, 1, H, W), features (M, C, h, w); similarity is the cosine. Thin lines are the
    outlines of the objects.
    """
    size, side = images.shape[-1], maps.shape[-1]
    unit = F.normalize(maps, dim=1)
    figure = Figure(figsize=(9.6, 0.3 + 2.3 * len(cells)))
    axes = figure.subplots(len(cells), 1 + len(images), squeeze=False)
    extent = (0, side, side, 0)  # in cells
    for row, (name, (image, i, j)) in zip(axes, cells.items(), strict=True):
        similar = torch.einsum("mchw,c->mhw", unit, unit[image, :, i, j]).numpy()  # (M, h, w)
        row[0].imshow(to_rgb_array(images[image]), extent=extent, interpolation="lanczos")
        row[0].set_title(name)
        for ax, picture, mask in zip(row[1:], similar, foregrounds[:, 0].numpy(), strict=True):
            shown = ax.imshow(picture, cmap="magma", vmin=0, vmax=0.6, extent=extent)
            place = (np.arange(size) + 0.5) * side / size
            ax.contour(place, place, mask, levels=[0.5], colors="white", linewidths=0.8)
        for ax in (row[0], row[1 + image]):  # the cell, in its picture and in the map of that picture
            ax.add_patch(Rectangle((j, i), 1, 1, fill=False, lw=2.2, edgecolor="#00FFFF"))
        for ax in row:
            ax.set_axis_off()
    figure.colorbar(shown, ax=axes.ravel().tolist(), shrink=0.6, label="cosine", extend="max")
    return figure


def patch_explorer(
    images: Tensor, foregrounds: Tensor, maps: Tensor, examples: Mapping[str, tuple[int, int, int]]
) -> Interactive:
    """Choose a cell of one of the images by row and column; see which cells of all images resemble it.

    Arguments as of :func:`patch_figure`; without a kernel the ``examples`` are shown.
    """
    first = next(iter(examples.values()))

    def draw(image: int, row: int, column: int) -> Figure:
        return patch_figure(images, foregrounds, maps, {f"row {row}, column {column}": (image, row, column)})

    return Interactive(
        draw,
        lambda: {
            "image": slider("image", first[0], 0, len(images) - 1),
            "row": slider("row", first[1], 0, maps.shape[-2] - 1),
            "column": slider("column", first[2], 0, maps.shape[-1] - 1),
        },
        patch_figure(images, foregrounds, maps, examples),
    )


def cluster_explorer(
    images: Tensor,
    foregrounds: Tensor,
    layers: Mapping[str, Levels],
    samples: PartDataset,
    sample_layers: Mapping[str, Levels],
    pick: Sequence[int],
    largest: int = 8,
) -> Interactive:
    """k-means on features: choose the layer and K, see the clusters on a few images.

    Parameters
    ----------
    images, foregrounds : (N, 3, H, W) and (N, 1, H, W), what k-means is fitted to.
    layers : name -> feature maps (N, C_l, h_l, w_l) of these images; several maps count as stacked.
    samples, sample_layers : M images over which colors are matched, and their features by the same names.
    pick : those of the M images that are shown.
    largest : largest K.
    """
    shown, masks = stacked(samples)  # (M, 3, H, W), (M, 1, H, W)
    truth = annotated_parts(samples)  # (M, H, W)

    @lru_cache(maxsize=64)
    def row(layer: str, parts: int) -> list[np.ndarray]:
        model = FeatureKMeans(parts).fit(images, foregrounds, layers[layer])
        found = match_parts(model.predict(shown, masks, sample_layers[layer]), truth)  # (M, H, W)
        return [overlay(shown[i], found[i], scale=2) for i in pick]

    def picture(rows: Mapping[str, list[np.ndarray]]) -> Figure:
        images_of_all = {"image": [shown[i] for i in pick], **rows}
        return parts_grid(images_of_all, legend=samples.part_names, cell=924 // len(pick) - 4)

    names = list(layers)
    examples = {f"K = {k}": row(names[-1], k) for k in sorted({2, min(4, largest), largest})}
    return Interactive(
        lambda layer, parts: picture({f"{layer}, K = {parts}": row(layer, parts)}),
        lambda: {"layer": choice("layer", names, names[-1]), "parts": slider("K", 4, 2, largest)},
        picture(examples),
    )
