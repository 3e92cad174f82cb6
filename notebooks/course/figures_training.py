"""Figures of a training run: its objective, its schedule, its starts, and parts that emerge or die."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.curves import Log
from torch import Tensor

from partlib.config import LOSSES, TrainConfig
from partlib.data.base import Sample
from partlib.errors import DataError
from partlib.report.plots import INK, Picture, match_parts, overlay, part_color, parts_grid
from partlib.training import DEAD_SHARE


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The rows of a run's ``log.csv``, which grows at every checkpoint; cells that are empty are left out.

    Raises
    ------
    DataError : no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected the log.csv of a run that has reached its first checkpoint")
    with path.open(newline="", encoding="utf-8") as stream:
        return [{k: float(v) for k, v in row.items() if v not in (None, "")} for row in csv.DictReader(stream)]


def loss_shares(log: Log, config: TrainConfig) -> dict[str, np.ndarray]:
    """What each weighted loss contributes to the total at every logged step, as fractions (n,) that sum to 1."""
    names = [name for name in LOSSES if getattr(config, name) and name in log[0]]
    weighted = np.array([[getattr(config, name) * float(str(e[name])) for e in log] for name in names])  # (terms, n)
    return dict(zip(names, weighted / weighted.sum(0), strict=True))


def _plain(ax: Axes, title: str, x: str = "step") -> None:
    ax.set_title(title, fontsize=9, color=INK, loc="left")
    ax.set_xlabel(x, fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)


def share_figure(log: Log, config: TrainConfig) -> Figure:
    """The weighted losses of a run: their values, and stacked as shares of the total."""
    steps = [float(str(e["step"])) for e in log]
    shares = loss_shares(log, config)
    totals = np.array([float(str(e["total"])) for e in log])
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.2), dpi=100, layout="constrained")
    colors = [part_color(k) for k in range(1, len(shares) + 1)]
    for (name, share), color in zip(shares.items(), colors, strict=True):
        axes[0].plot(steps, share * totals, color=color, lw=1.5, label=f"{getattr(config, name):g} x {name}")
    axes[0].plot(steps, totals, color=INK, lw=1, ls="--", label="total")
    axes[0].set_ylim(bottom=0)
    axes[1].stackplot(steps, list(shares.values()), labels=list(shares), colors=colors)
    axes[1].set(ylim=(0, 1), xlim=(steps[0], steps[-1]))
    _plain(axes[0], "weighted losses")
    _plain(axes[1], "share of the total")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    plt.close(figure)
    return figure


def schedule_figure(configs: Mapping[str, TrainConfig]) -> Figure:
    """Learning rates of decoder and backbone over the steps of several configurations, a panel each."""
    figure, axes = plt.subplots(
        1, len(configs), figsize=(3.2 * len(configs), 2.7), dpi=100, squeeze=False, layout="constrained"
    )
    for ax, (name, c) in zip(axes[0], configs.items(), strict=True):
        steps = np.linspace(0, c.steps, 200)
        factor = (1 - steps / (c.lr_horizon or c.steps)) ** c.poly_power  # (200,)
        ax.plot(steps, c.lr * factor, color=part_color(1), label="decoder")
        ax.plot(steps, c.backbone_lr * factor, color=part_color(2), label="backbone")
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, -3))
        _plain(ax, f"{name}: {c.optimizer}, batches of {c.batch_size}")
    axes[0, 0].legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure


def starts_figure(
    losses: Mapping[int, Sequence[float]], chosen: int, scores: Mapping[int, float] | None = None
) -> Figure:
    """Loss over the trial of every start, and beside it the means that the starts are compared by.

    Parameters
    ----------
    losses : start -> losses of its trial, see :func:`partlib.starts.judged`.
    chosen : the start that is trained in full.
    scores : start -> FG-NMI at the end of its trial in percent, for the eye.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.0), dpi=100, width_ratios=(2, 1), layout="constrained")
    length = len(next(iter(losses.values())))
    window = 5 if length >= 10 else 1
    means = {start: float(np.mean(values[length // 2 :])) for start, values in losses.items()}
    for start, values in losses.items():
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")  # (length - window + 1,)
        name, width = (f"start {start}, chosen", 2.5) if start == chosen else (f"start {start}", 1.2)
        steps = np.arange(len(smooth)) + 1 + window // 2
        axes[0].plot(steps, smooth, color=part_color(start + 1), lw=width, label=name)
        axes[1].barh(start, means[start], color=part_color(start + 1))
        note = f" {means[start]:.2f}" + ("" if scores is None else f", FG-NMI {scores[start]:.0f}")
        axes[1].text(means[start], start, note, va="center", fontsize=8, color=INK)
    axes[0].axvspan(length // 2 + 1, length, color="#E3E3E3", zorder=0, label="compared")
    axes[0].legend(frameon=False, fontsize=8)
    _plain(axes[0], "loss of the trial" + (f" (mean of {window} steps)" if window > 1 else ""))
    _plain(axes[1], "mean over the later half", "loss")
    low, right = min(means.values()), max(means.values())
    left = max(0.0, low - 2 * (right - low))  # bars of nearly equal losses should still differ to the eye
    axes[1].set(xlim=(left, right + 0.45 * (right - left)), yticks=list(losses))
    axes[1].invert_yaxis()
    plt.close(figure)
    return figure


def film_strip(
    samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, *, columns: int = 7, cell: int = 112
) -> Figure:
    """Images as rows and steps as columns: the parts that a network finds while it learns.

    Parameters
    ----------
    samples : N samples.
    steps : T steps, ascending.
    labels : (T, N, H, W), see :class:`partlib.film.Film`. One numbering, and with it one colour per part, is used for
        all frames: that in which the last frame overlaps the annotation most.
    columns : most steps to draw, spread evenly over the T frames, the last among them.
    cell : width of one picture in pixels.
    """
    pick = np.unique(np.linspace(0, len(steps) - 1, min(columns, len(steps))).round().astype(int))
    painted = same_colors(samples, labels)
    scale = max(1, round(2 * cell / samples[0].image.shape[-1]) // 2)
    # parts_grid takes rows of pictures; the steps are the columns
    rows: dict[str, list[Picture]] = {}
    for n, sample in enumerate(samples):
        rows[sample.name] = [sample.image, *(overlay(sample.image, painted[t][n], scale=scale) for t in pick)]
    titles = ["image", *(f"step {steps[t]}" for t in pick)]
    return parts_grid(rows, column_titles=titles, cell=cell)


def same_colors(samples: Sequence[Sample], labels: Tensor) -> Tensor:
    """Frames (T, N, H, W) renumbered, all alike, so that the last one fits the annotation, where there is one."""
    annotated = [s.parts for s in samples if s.parts is not None]
    if len(annotated) < len(samples):
        return labels.long()
    truth = np.stack([parts.numpy() for parts in annotated])  # (N, H, W)
    last = match_parts(labels[-1], truth)
    # every part is in the lookup, also one that the last frame lacks: that one is numbered after all others
    number = {int(k): int(last[labels[-1] == k].flatten()[0]) for k in labels[-1].unique().tolist()}
    free = iter(range(max(number.values()) + 1, 256))
    for k in labels.unique().tolist():
        number.setdefault(int(k), next(free))
    result = labels.long().clone()  # (T, N, H, W)
    for k, new in number.items():
        result[labels == k] = new
    return result


def death_figure(logs: Mapping[str, Log], num_parts: int) -> Figure:
    """Shares of the parts over the steps, a panel per run, on a scale that shows small shares; below the line is dead.

    Parameters
    ----------
    logs : title -> rows with "step" and "share_1" ... where evaluated.
    num_parts : K.
    """
    figure, axes = plt.subplots(
        1, len(logs), figsize=(4.8 * len(logs), 3.0), dpi=100, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, log) in zip(axes[0], logs.items(), strict=True):
        rows = [e for e in log if "share_1" in e]
        steps = [float(str(e["step"])) for e in rows]
        for k in range(1, num_parts + 1):
            values = [max(float(str(e[f"share_{k}"])), 1e-4) for e in rows]
            ax.plot(steps, values, color=part_color(k), lw=1.8, marker="o", ms=3, label=f"part {k}")
        ax.axhline(DEAD_SHARE, color=INK, lw=1, ls="--", label="dead below")
        ax.set(yscale="log", ylim=(0.8e-4, 1.2))
        _plain(ax, title)
    axes[0, 0].set_ylabel("share of the foreground", fontsize=8)
    axes[0, 0].legend(frameon=False, fontsize=8)
    plt.close(figure)
    return figure
