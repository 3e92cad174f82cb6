"""Lesson 05, feature consistency: the figures."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from partlib.report.plots import PART_COLORS


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
