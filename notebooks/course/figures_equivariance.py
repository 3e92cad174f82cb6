"""Figures of the lesson on equivariance: both ways around the square, for several networks or one."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.equivariance_study import Network, TwoWays, two_ways
from partlib_course.figures import PALE
from torch import Tensor

from partlib.report.plots import INK, overlay, to_rgb_array


def _draw_ways(axes: np.ndarray, ways: TwoWays, num_parts: int) -> None:
    """Both divisions of the first image and the divergence between them, into three axes."""
    first, second = ways.labels()
    image = ways.warped_images[0]
    axes[0].imshow(overlay(image, first[0], scale=2))
    axes[1].imshow(overlay(image, second[0], scale=2))
    # black from log K on: the divergence between "sure" and "undecided"
    shade = 1 - (ways.divergence()[0] / math.log(num_parts)).clamp(0, 1)  # (H, W)
    shown = torch.where(ways.foreground[0, 0] > 0.5, shade, torch.tensor(PALE))
    axes[2].imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)


def _finish(figure: Figure, axes: np.ndarray, titles: tuple[str, ...]) -> Figure:
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=10, color=INK)
    plt.close(figure)
    return figure


def _name_row(ax: Axes, name: str, ways: TwoWays) -> None:
    text = f"{name}\nloss {max(ways.loss(), 0):.3f}"  # rounding can leave -0
    ax.text(-0.04, 0.5, text, transform=ax.transAxes, rotation=90, ha="right", va="center", fontsize=9, color=INK)


def square_figure(networks: Mapping[str, Network], image: Tensor, foreground: Tensor, points: Tensor) -> Figure:
    """A row per network: its parts of the image, the two ways around the square, and where they differ.

    Parameters
    ----------
    networks : name -> network.
    image, foreground : (3, H, W) and (1, H, W).
    points : (25, 2) source points of the warp.
    """
    figure, axes = plt.subplots(len(networks), 4, figsize=(8.4, 2.05 * len(networks) + 0.3), dpi=100, squeeze=False)
    for row, (name, network) in zip(axes, networks.items(), strict=True):
        ways = two_ways(network, image[None], foreground[None], points[None])
        with torch.no_grad():
            logits = network(image[None])
        labels = (logits[0].argmax(0) + 1) * (foreground[0] > 0.5)
        row[0].imshow(overlay(image, labels, scale=2))
        _draw_ways(row[1:], ways, logits.shape[1])
        _name_row(row[0], name, ways)
    figure.subplots_adjust(
        left=0.07, right=0.995, top=1 - 0.3 / figure.get_figheight(), bottom=0.005, wspace=0.03, hspace=0.04
    )
    return _finish(
        figure, axes, ("parts of the image", "first parts, then warp", "first warp, then parts", "where they differ")
    )


def warp_page(network: Network, image: Tensor, foreground: Tensor, points: Tensor) -> Figure:
    """One network and one warp: the warped image, the two ways around the square, where they differ, and the loss."""
    ways = two_ways(network, image[None], foreground[None], points[None])
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.8), dpi=100, squeeze=False)
    axes[0, 0].imshow(to_rgb_array(ways.warped_images[0]), interpolation="lanczos")
    _draw_ways(axes[0, 1:], ways, ways.divided_first.shape[1])
    figure.subplots_adjust(left=0.005, right=0.995, top=0.9, bottom=0.01, wspace=0.03)
    found = f"loss {max(ways.loss(), 0):.3f}, {ways.agreement():.0%} agree"
    return _finish(figure, axes, ("warped image", "first parts, then warp", "first warp, then parts", found))
