"""Figures of the lesson on feature consistency: the loss against the score, and descents from several starts."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from partlib.report.plots import INK, part_color


def loss_against_score(losses: Mapping[str, float], scores: Mapping[str, float]) -> Figure:
    """Divisions by their feature loss (x) and their score (y), each with its name."""
    figure, ax = plt.subplots(figsize=(6.8, 3.4), dpi=100, layout="constrained")
    for k, (name, loss) in enumerate(losses.items(), start=1):
        ax.scatter(loss, scores[name], color=part_color(k), s=60, zorder=3)
        offset = (8, -12 if k % 4 == 0 else 4)  # above and below, as neighbours are often close
        ax.annotate(name, (loss, scores[name]), xytext=offset, textcoords="offset points", fontsize=9, color=INK)
    ax.margins(x=0.25, y=0.15)
    ax.set_xlabel("feature loss (lower is what the loss wants)", fontsize=9)
    ax.set_ylabel("FG-NMI", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    plt.close(figure)
    return figure


def descent_curves(curves: Mapping[str, Sequence[float]], limit: float | None = None, title: str = "") -> Figure:
    """Losses over steps from several starts; ``limit`` is drawn as a dashed line with its title."""
    figure, ax = plt.subplots(figsize=(6.8, 3.4), dpi=100, layout="constrained")
    for k, (name, values) in enumerate(curves.items(), start=1):
        ax.plot(values, color=part_color(k), lw=2, ls=("-", "--", "-.")[k % 3], label=name)
    if limit is not None:
        ax.axhline(limit, color=INK, lw=1, ls=":", label=title)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step", fontsize=9)
    ax.set_ylabel("feature loss", fontsize=9)
    ax.legend(fontsize=9, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    plt.close(figure)
    return figure
