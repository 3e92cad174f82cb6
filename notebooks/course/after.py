"""Lesson 13, after 2021: stored runs with other networks of features, and values of seeds over networks or sizes."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from partlib_course.ablations import feature_clusters, interval
from partlib_course.notebook import relative_paths, stored_result
from torch import Tensor

from partlib.config import TrainConfig
from partlib.data.base import PartDataset
from partlib.errors import CheckpointError
from partlib.report.plots import INK, part_color

# word -> what it is called in tables and figures, the weakest first
NAMES = {
    "efficientnet_lite0:random": "Lite0, untrained",
    "efficientnet_lite0": "Lite0",
    "timm/tf_efficientnet_lite1": "Lite1",
    "timm/tf_efficientnet_lite2": "Lite2",
}
Values = Mapping[str, Mapping[str, Sequence[float]]]  # series -> place on the x axis -> values of the seeds


def stored_networks() -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Name of a network -> method -> seed -> scores, of figures/after.py; networks and seeds that all methods have."""
    scores = stored_result("after")["scores"]
    found = {NAMES.get(word, word): scores[word] for word in [*NAMES, *(set(scores) - set(NAMES))] if word in scores}
    return {name: methods for name, methods in found.items() if len({len(seeds) for seeds in methods.values()}) == 1}


def clusters_if_possible(config: TrainConfig, dataset: PartDataset) -> Tensor | None:
    """:func:`feature_clusters`, or None and a line that says why, where the weights of the network cannot be had."""
    try:
        with redirect_stdout(io.StringIO()):  # torchvision tells where it would put the file
            return feature_clusters(config, dataset)
    except CheckpointError as error:
        print(relative_paths(f"{config.feature_network} is left out: {error}"))
        return None


def seed_plot(values: Values, title: str, zero: bool = False) -> Figure:
    """Mean (square) and interval over the seeds of each series along the x axis, with a dot per seed beside it.

    With ``zero`` a line is drawn there: the values are differences.
    """
    rows = [(x, name, v) for name, series in values.items() for x, seeds in series.items() for v in seeds]
    frame = pd.DataFrame(rows, columns=["x", "series", "value"])
    figure = Figure(figsize=(9.6, 3.4))
    ax = figure.subplots()
    palette, dodge = [part_color(k) for k in range(1, len(values) + 1)], 0.2 * (len(values) - 1)
    options: dict[str, Any] = {"palette": palette, "linestyle": "none", "marker": "s", "capsize": 0.06, "dodge": dodge}
    options |= {"errorbar": lambda v: interval(v)[::2], "err_kws": {"linewidth": 1.5}}
    sns.pointplot(frame, x="x", y="value", hue="series", ax=ax, **options)
    for k, series in enumerate(values.values()):  # right of the mark, so that neither hides the other
        offset = dodge * (k / (len(values) - 1) - 0.5) if dodge else 0.0
        for place, seeds in enumerate(series.values()):
            ax.scatter([place + offset + 0.08] * len(seeds), seeds, s=14, color=INK, zorder=3, lw=0)
    if zero:
        ax.axhline(0, color=INK, lw=1)
    ax.set(xlabel="", ylabel=title)
    ax.grid(axis="y")
    ax.legend(title="", ncols=len(values), loc="lower right", bbox_to_anchor=(1, 1))
    return figure
