"""Figures of the lesson on the contrast: the similarity matrix, who is a positive, what one descriptor looks at."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from partlib_course.contrast_study import attention, roles, similarities
from torch import Tensor

from partlib.report.plots import INK, part_color


def _frame(ax: Axes, num_images: int, names: Sequence[str], title: str) -> None:
    """Lines between the parts and their names at the sides."""
    size = num_images * len(names)
    for k in range(1, len(names)):
        ax.axhline(k * num_images - 0.5, color="white", lw=1)
        ax.axvline(k * num_images - 0.5, color="white", lw=1)
    middles = [(k + 0.5) * num_images - 0.5 for k in range(len(names))]
    ax.set_xticks(middles, names, fontsize=8, rotation=45)
    ax.set_yticks(middles, names, fontsize=8)
    ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=10, color=INK)


def matrix_figure(descriptors: Tensor, names: Sequence[str]) -> Figure:
    """Cosines of all descriptors (B, K, C) as a heat map, and beside it which pairs are positives and negatives."""
    images, parts, _ = descriptors.shape
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.5), dpi=100, layout="constrained")
    shown = axes[0].imshow(similarities(descriptors).numpy(), cmap="viridis", vmin=-1, vmax=1)
    figure.colorbar(shown, ax=axes[0], shrink=0.8)
    _frame(axes[0], images, names, "cosine of two descriptors")
    axes[1].imshow(
        roles(images, parts).numpy(), cmap=ListedColormap(["#c9ced6", "white", to_hex(part_color(1))]), vmin=-1, vmax=1
    )
    _frame(axes[1], images, names, "coloured: positive, grey: negative, white: itself")
    plt.close(figure)
    return figure


def temperature_figure(descriptors: Tensor, names: Sequence[str], part: int, temperatures: Sequence[float]) -> Figure:
    """How much each descriptor pulls on part ``part`` of the first image, at several temperatures.

    Below, the similarity matrix after the same softmax, row by row.
    """
    images, parts, _ = descriptors.shape
    columns = len(temperatures)
    figure, axes = plt.subplots(
        2, columns, figsize=(3.2 * columns, 5.4), dpi=100, layout="constrained", squeeze=False, height_ratios=(1, 2)
    )
    cosines = similarities(descriptors)
    cosines.fill_diagonal_(-torch.inf)
    for top, bottom, temperature in zip(*axes, temperatures, strict=True):
        pulls = attention(descriptors, 0, part, temperature)  # (K B,)
        colors = [part_color(1) if row // images == part else "#9aa3af" for row in range(len(pulls))]
        top.bar(range(len(pulls)), pulls.numpy(), width=1, color=colors)
        top.set_xticks([])
        top.set_ylim(bottom=0)
        top.tick_params(labelsize=8)
        top.spines[["top", "right"]].set_visible(False)
        good = float(pulls.view(parts, images)[part].sum())
        top.set_title(f"temperature {temperature:g}\npositives hold {good:.0%}", fontsize=10, color=INK)
        bottom.imshow((cosines / temperature).softmax(1).sqrt().numpy(), cmap="viridis")
        _frame(bottom, images, names, "")
    axes[0, 0].set_ylabel(f"pull on {names[part]},\nfirst bird", fontsize=9)
    plt.close(figure)
    return figure
