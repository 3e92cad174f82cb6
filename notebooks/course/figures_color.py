"""Figures of the lesson on visual consistency: flat redrawings, colours in two spaces, losses along a shift."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from partlib_course.color_study import color_clusters, one_hot
from partlib_course.figures import PALE, redraw
from torch import Tensor

from partlib.color import rgb_to_lab
from partlib.data.base import Sample
from partlib.report.plots import INK, Picture, overlay, part_color, parts_grid, to_rgb_array


def flat_image(sample: Sample, labels: Tensor) -> Tensor:
    """The sample (3, H, W) redrawn with the mean Lab colour of each part of ``labels`` (H, W)."""
    return redraw(sample.image[None], one_hot(labels[None]))[0]


def left_over(sample: Sample, labels: Tensor) -> Tensor:
    """What the flat redrawing misses, (3, H, W): white where nothing, black from a Lab distance of 50 on."""
    difference = rgb_to_lab(sample.image[None]) - rgb_to_lab(flat_image(sample, labels)[None])  # (1, 3, H, W)
    shade = (1 - difference.norm(dim=1, keepdim=True) / 50).clamp(0, 1)[0]  # (1, H, W)
    inside = (labels > 0).float()
    return (shade * inside + PALE * (1 - inside)).expand(3, -1, -1)


def redraw_rows(samples: Sequence[Sample], divisions: Mapping[str, Tensor], rest: bool = False) -> Figure:
    """Images, and each redrawn from every division's flat colours; with ``rest`` what is left over below each.

    Parameters
    ----------
    samples : N samples.
    divisions : title -> labels (N, H, W).
    """
    rows: dict[str, Sequence[Picture]] = {"image": [s.image for s in samples]}
    for title, labels in divisions.items():
        rows[title] = [flat_image(s, found) for s, found in zip(samples, labels, strict=True)]
        if rest:
            rows[f"left over, {title}"] = [left_over(s, found) for s, found in zip(samples, labels, strict=True)]
    return parts_grid(rows, cell=128)


def cluster_page(sample: Sample, num_parts: int, space: str) -> Figure:
    """One image, its clusters of colours, the redrawing from their means, and what is left over."""
    labels = color_clusters(sample.image, sample.foreground, num_parts, space)
    pictures: dict[str, Picture] = {
        "image": sample.image,
        f"{num_parts} clusters in {'Lab' if space == 'lab' else 'RGB'}": overlay(sample.image, labels, scale=2),
        "redrawn": flat_image(sample, labels),
        "left over": left_over(sample, labels),
    }
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.7), dpi=100)
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(to_rgb_array(picture), interpolation="lanczos" if title == "image" else "nearest")
        ax.set_title(title, fontsize=10, color=INK)
        ax.set_axis_off()
    figure.subplots_adjust(left=0.005, right=0.995, top=0.9, bottom=0.01, wspace=0.03)
    plt.close(figure)
    return figure


def color_pairs(pairs: Sequence[tuple[Tensor, Tensor]]) -> Figure:
    """Pairs of colours side by side, with their distance in RGB and in Lab written below.

    Parameters
    ----------
    pairs : two (3,) RGB colours in [0, 1] each.
    """
    figure, axes = plt.subplots(1, len(pairs), figsize=(1.6 * len(pairs), 2.1), dpi=100, squeeze=False)
    for ax, (first, second) in zip(axes[0], pairs, strict=True):
        ax.imshow(np.stack([first.numpy(), second.numpy()])[None], aspect="equal", extent=(0, 2, 0, 1.6))
        lab = rgb_to_lab(torch.stack([first, second])[:, :, None, None])[:, :, 0, 0]  # (2, 3)
        text = f"RGB {(first - second).norm():.2f}\nLab {(lab[0] - lab[1]).norm():.0f}"
        ax.text(1, -0.15, text, ha="center", va="top", fontsize=10, color=INK)
        ax.set(xlim=(0, 2), ylim=(-0.9, 1.6))
        ax.set_axis_off()
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01, wspace=0.12)
    plt.close(figure)
    return figure


def shift_curves(pixels: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Losses while the borders of the annotated parts are moved.

    Parameters
    ----------
    pixels : S distances.
    curves : title -> S values, 0 for the annotation and 1 for a single part.
    """
    figure, ax = plt.subplots(figsize=(6.4, 3.6), dpi=100, layout="constrained")
    for k, (title, values) in enumerate(curves.items(), start=1):
        ax.plot(pixels, values, color=part_color(k), marker="os^"[k % 3], ms=5, label=title)
    ax.set_xlabel("borders moved by (pixels)", fontsize=9)
    ax.set_ylabel("loss: 0 annotation, 1 one single part", fontsize=9)
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    plt.close(figure)
    return figure
