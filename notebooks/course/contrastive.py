"""Lesson 06, contrast: who is compared with whom, and the figures that show it."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from partlib_course.widgets import Interactive, choice, slider
from torch import Tensor
from torch.nn import functional as F

from partlib.report.plots import INK, PART_COLORS, part_color


def similarities(descriptors: Tensor) -> Tensor:
    """Cosines (K B, K B) of descriptors (B, K, C), ordered by part: row k B + b is part k of image b."""
    unit = F.normalize(descriptors.transpose(0, 1).flatten(0, 1), dim=1)  # (B, K, C) -> (K B, C)
    return unit @ unit.T


def roles(num_images: int, num_parts: int) -> Tensor:
    """What pairs are to each other, (K B, K B) in the order of :func:`similarities`.

    1 is a positive (the same part of another image), -1 a negative (another part), 0 the descriptor with itself.
    """
    part = torch.arange(num_parts).repeat_interleave(num_images)  # (K B,)
    same = part[:, None] == part
    return torch.where(same, 1, -1) * (1 - torch.eye(len(part), dtype=torch.long))


def attention(descriptors: Tensor, image: int, part: int, temperature: float) -> Tensor:
    """Softmax of one descriptor's cosines over all others: how much each pulls, (K B,), 0 for itself."""
    row = part * len(descriptors) + image
    values = similarities(descriptors)[row] / temperature
    values[row] = -torch.inf
    return values.softmax(0)


def _frame(ax: Axes, num_images: int, names: Sequence[str]) -> None:
    """Lines between the parts and their names at the sides."""
    for k in range(1, len(names)):
        ax.axhline(k * num_images - 0.5, color="white", lw=1)
        ax.axvline(k * num_images - 0.5, color="white", lw=1)
    middles = [(k + 0.5) * num_images - 0.5 for k in range(len(names))]
    ax.set_xticks(middles, names, fontsize=8, rotation=45)
    ax.set_yticks(middles, names, fontsize=8)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def matrix_figure(descriptors: Tensor, names: Sequence[str]) -> Figure:
    """Cosines of all descriptors (B, K, C) as a heat map, and beside it which pairs are positives and negatives."""
    images, parts, _ = descriptors.shape
    figure = Figure(figsize=(9.6, 4.5))
    left, right = figure.subplots(1, 2)
    shown = left.imshow(similarities(descriptors).numpy(), cmap="viridis", vmin=-1, vmax=1)
    figure.colorbar(shown, ax=left, shrink=0.8)
    left.set_title("cosine of two descriptors")
    colors = ListedColormap(["#c9ced6", "white", to_hex(part_color(1))])
    right.imshow(roles(images, parts).numpy(), cmap=colors, vmin=-1, vmax=1)
    right.set_title("colored: positive, gray: negative, white: itself")
    for ax in (left, right):
        _frame(ax, images, names)
    return figure


def temperature_figure(descriptors: Tensor, names: Sequence[str], part: int, temperatures: Sequence[float]) -> Figure:
    """Shares of all descriptors for a part of the first image, dashed if all were alike; below, for all rows."""
    images, parts, _ = descriptors.shape
    figure = Figure(figsize=(max(3.6, 3.2 * len(temperatures)), 5.4))
    axes = figure.subplots(2, len(temperatures), squeeze=False, height_ratios=(1, 2))
    cosines = similarities(descriptors).fill_diagonal_(-torch.inf)
    for top, bottom, temperature in zip(*axes, temperatures, strict=True):
        pulls = attention(descriptors, 0, part, temperature)  # (K B,)
        colors = [part_color(1) if row // images == part else "#9aa3af" for row in range(len(pulls))]
        top.bar(range(len(pulls)), pulls.numpy(), width=1, color=colors)
        top.axhline(1 / (len(pulls) - 1), color=INK, lw=1, ls="--")
        top.set_xticks([])
        good = float(pulls.view(parts, images)[part].sum())
        top.set_title(f"temperature {temperature:g}\npositives hold {good:.0%}")
        bottom.imshow((cosines / temperature).softmax(1).sqrt().numpy(), cmap="viridis")
        _frame(bottom, images, names)
    axes[0, 0].set_ylabel(f"shares for {names[part]},\nfirst bird")
    return figure


def against_guessing(curves: Mapping[str, Sequence[float]], x: Sequence[float], guessing: float, label: str) -> Figure:
    """Curves of the contrast over ``x``, steps or shares (on a scale of powers), and dashed what guessing costs."""
    figure = Figure(figsize=(9.6, 3.2))
    ax = figure.subplots()
    frame = pd.DataFrame(curves, index=pd.Index(x))
    sns.lineplot(frame, markers=True, dashes=False, palette=list(PART_COLORS[: len(curves)]), ax=ax)
    ax.axhline(guessing, color=INK, lw=1.5, ls="--", label=f"guessing, {guessing:.2f}")
    ax.set(xlabel=label, ylabel="contrast", ylim=(0, 1.08 * max(guessing, frame.max(axis=None))))
    if max(x) <= 1:
        ax.set_xscale("log")
        ax.set_xticks(x, [f"{share:g}" for share in x], minor=False)
        ax.minorticks_off()
    ax.legend(loc="lower left")
    ax.grid()
    return figure


def temperature_explorer(descriptors: Tensor, names: Sequence[str], part: int = 0) -> Interactive:
    """Choose a part and a temperature; see which descriptors (B, K, C) pull on this part of the first image."""
    numbered = [(name, k) for k, name in enumerate(names)]
    return Interactive(
        lambda part, temperature: temperature_figure(descriptors, names, part, [temperature]),
        lambda: {
            "part": choice("part", numbered, part),
            "temperature": slider("temperature", 0.19, -2, 1, 0.05, log=True),
        },
        temperature_figure(descriptors, names, part, (0.05, 0.19, 1.0)),
    )
