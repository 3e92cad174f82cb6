"""Figures of the lesson on scores: contingency tables, damage curves, regressed keypoints, ranks of segmentations."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from partlib.data.base import Sample
from partlib.metrics import contingency_table
from partlib.report.plots import INK, overlay, part_color

SCORE_NAMES = {"fg_nmi": "FG-NMI", "fg_ari": "FG-ARI", "nmi": "NMI", "ari": "ARI", "error": "keypoint error"}


def parts_picture(sample: Sample, labels: Tensor, alpha: float = 0.6, scale: int = 2) -> np.ndarray:
    """Parts (H, W) on their image; without outlines where these would cover the parts, as with noise."""
    object_pixels = max(int((labels > 0).sum()), 1)
    outlined = int((labels[:, 1:] != labels[:, :-1]).sum()) < 0.25 * object_pixels
    return overlay(sample.image, labels, alpha=alpha, outline=outlined, scale=scale)


def toy_figure(target: Tensor, predictions: Mapping[str, Tensor]) -> Figure:
    """Small label maps and, below each prediction, its contingency table with the target.

    Parameters
    ----------
    target : (h, w) integers, labels from 1.
    predictions : title -> (h, w) integers, labels from 1.
    """
    columns = 1 + len(predictions)
    figure, axes = plt.subplots(2, columns, figsize=(1.9 * columns, 3.6), dpi=100, layout="constrained")
    _draw_labels(axes[0, 0], target, "target")
    axes[1, 0].set_axis_off()
    axes[1, 0].text(0.5, 0.5, "rows: target\ncolumns: found", ha="center", va="center", fontsize=9, color=INK)
    for column, (title, labels) in enumerate(predictions.items(), start=1):
        _draw_labels(axes[0, column], labels, title)
        _draw_table(axes[1, column], contingency_table(labels, target)[1:, 1:].numpy())
    plt.close(figure)
    return figure


def _draw_labels(ax: Axes, labels: Tensor, title: str) -> None:
    colors = np.array([part_color(k) for k in range(int(labels.max()) + 1)])  # (K + 1, 3)
    ax.imshow(colors[labels.numpy()])
    for (row, column), value in np.ndenumerate(labels.numpy()):
        ax.text(column, row, str(value), ha="center", va="center", fontsize=9, color="white", weight="bold")
    ax.set_title(title, fontsize=10, color=INK)
    ax.set_axis_off()


def _draw_table(ax: Axes, table: np.ndarray) -> None:
    ax.imshow(table, cmap="Greys", vmin=0, vmax=2.5 * table.max())
    for (row, column), value in np.ndenumerate(table):
        ax.text(column, row, value, ha="center", va="center", fontsize=10, color=INK)
    ax.set_xticks(range(table.shape[1]), [str(k + 1) for k in range(table.shape[1])])
    ax.set_yticks(range(table.shape[0]), [str(k + 1) for k in range(table.shape[0])])
    ax.tick_params(length=0, labelsize=9)
    for k, tick in enumerate(ax.get_xticklabels(), start=1):
        tick.set_color(part_color(k))
    for k, tick in enumerate(ax.get_yticklabels(), start=1):
        tick.set_color(part_color(k))


def damage_curves(strengths: Sequence[float], curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """How the scores follow damage, a panel per kind of damage.

    Parameters
    ----------
    strengths : S values, 0 first.
    curves : damage -> S scores (:data:`partlib.metric_study.SCORES`). The error is drawn from 15 % (below) to 0
        (above), so that up is better for every curve.
    """
    columns = 4
    rows = -(-len(curves) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(9.6, 2.5 * rows), dpi=100, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax in grid.flat[len(curves) :]:
        ax.set_axis_off()
    for ax, (damage, scores) in zip(grid.flat, curves.items(), strict=False):
        for k, name in enumerate(("fg_nmi", "fg_ari"), start=1):
            ax.plot(strengths, [s[name] for s in scores], color=part_color(k), marker="os"[k - 1], ms=4)
        quality = [100 - 100 * s["error"] / 15 for s in scores]
        ax.plot(strengths, quality, color=part_color(6), marker="^", ms=5, ls="--")
        ax.set_title(damage, fontsize=10, color=INK)
        ax.set(ylim=(-5, 106))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    names = ["FG-NMI (%)", "FG-ARI (%)", "keypoint error (top 0, bottom 15 %)"]
    for ax in grid[-1]:
        ax.set_xlabel("strength of the damage", fontsize=9, color=INK)
    figure.legend(grid.flat[0].lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    plt.close(figure)
    return figure


def rank_scatter(scores: Mapping[tuple[str, str], Mapping[str, float]]) -> Figure:
    """Keypoint error against FG-NMI and FG-ARI, a mark for every segmentation.

    Parameters
    ----------
    scores : (family, name) -> scores. Families have a colour and a mark of their own.
    """
    families = list(dict.fromkeys(family for family, _ in scores))
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), dpi=100, sharey=True, layout="constrained")
    marks = "osD^vP*Xh<>p"
    for ax, name in zip(axes, ("fg_nmi", "fg_ari"), strict=True):
        for k, family in enumerate(families):
            points = [(s[name], s["error"]) for (f, _), s in scores.items() if f == family]
            x, y = zip(*points, strict=True)
            marker, size = marks[k % len(marks)], 110 if marks[k % len(marks)] in "*PX" else 60  # some are small
            ax.scatter(x, y, s=size, label=family, zorder=3, color=part_color(k + 1), marker=marker, ec="white", lw=0.5)
        ax.set_xlabel(f"{SCORE_NAMES[name]} (%): right is better", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    axes[0].set_ylabel("keypoint error (%): up is better", fontsize=9)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    plt.close(figure)
    return figure


def keypoint_figure(
    samples: Sequence[Sample], labels: Mapping[str, Tensor], centers: Mapping[str, Tensor], fitted: Mapping[str, Tensor]
) -> Figure:
    """Parts, their centres (large), annotated keypoints (crosses) and the regressed ones (dots, joined to them).

    Parameters
    ----------
    samples : N samples with keypoints.
    labels : method -> (N, H, W).
    centers : method -> (N, K, 2) in pixels.
    fitted : method -> (N, M, 2) regressed keypoints in pixels.
    """
    rows, columns = len(labels), len(samples)
    figure, axes = plt.subplots(rows, columns, figsize=(9.6, 9.9 / columns * rows), dpi=100, squeeze=False)
    for row, name in zip(axes, labels, strict=True):
        for i, (ax, sample) in enumerate(zip(row, samples, strict=True)):
            assert sample.keypoints is not None, "the data set has no keypoints"
            side = sample.image.shape[-1]
            picture = parts_picture(sample, labels[name][i], alpha=0.45, scale=3)
            ax.imshow(picture, extent=(-0.5, side - 0.5, side - 0.5, -0.5))
            shown = sample.keypoints[:, 2] > 0
            wanted, found = sample.keypoints[shown, :2].numpy(), np.asarray(fitted[name][i])[shown.numpy()]
            for (x0, y0), (x1, y1) in zip(wanted, found, strict=True):
                ax.plot([x0, x1], [y0, y1], color=INK, lw=0.8)
            ax.scatter(wanted[:, 0], wanted[:, 1], marker="x", s=18, color=INK, lw=1.2)
            ax.scatter(found[:, 0], found[:, 1], s=9, color="white", edgecolor=INK, lw=0.6, zorder=3)
            points = np.asarray(centers[name][i])
            colors = [part_color(k + 1) for k in range(len(points))]
            ax.scatter(points[:, 0], points[:, 1], s=70, color=colors, edgecolor="white", lw=1.3, zorder=4)
            ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            ax.set_axis_off()
        row[0].set_title(name, fontsize=10, color=INK, loc="left")
    figure.subplots_adjust(left=0.005, right=0.995, top=0.94, bottom=0.005, wspace=0.03, hspace=0.12)
    plt.close(figure)
    return figure


def score_panel(samples: Sequence[Sample], labels: Tensor, truth: Tensor, scores: Mapping[str, float]) -> Figure:
    """Annotated and damaged parts of a few images, and a bar for each score of the whole test set.

    Parameters
    ----------
    samples : N samples.
    labels, truth : (N, H, W).
    scores : of :data:`SCORE_NAMES`, in percent.
    """
    columns = len(samples)
    figure = plt.figure(figsize=(9.6, 4.0), dpi=100)
    for c, sample in enumerate(samples):
        for r, found in enumerate((truth[c], labels[c])):
            ax = figure.add_axes((0.01 + c * 0.62 / columns, 0.51 - 0.49 * r, 0.6 / columns, 0.45))
            ax.imshow(parts_picture(sample, found))
            ax.set_axis_off()
            if c == 0:
                ax.set_title(("annotated", "damaged")[r], fontsize=9, color=INK, loc="left", pad=2)
    bars = figure.add_axes((0.76, 0.12, 0.22, 0.78))
    _draw_bars(bars, scores)
    plt.close(figure)
    return figure


def _draw_bars(ax: Axes, scores: Mapping[str, float]) -> None:
    names = list(SCORE_NAMES)
    colors = [part_color(k) for k in (1, 2, 5, 7, 6)]
    values = [scores[name] for name in names]
    ax.barh(range(len(names)), values, color=colors)
    for y, value in enumerate(values):
        ax.text(max(value, 0) + 2, y, f"{value:.1f}", va="center", fontsize=9, color=INK)
    ax.set_yticks(range(len(names)), [SCORE_NAMES[name].replace(" ", "\n") for name in names], fontsize=9)
    ax.set(xlim=(0, 118), ylim=(len(names) - 0.4, -0.6))
    ax.set_xlabel("percent (of the error, less is better)", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def damage_strip(sample: Sample, damaged: Mapping[str, Tensor], scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """One image with several segmentations, the scores of each written below.

    Parameters
    ----------
    sample : the image.
    damaged : title -> labels (H, W).
    scores : title -> scores of the whole test set.
    """
    columns = 4
    rows = -(-len(damaged) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(9.6, 3.0 * rows), dpi=100, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, (title, labels) in zip(grid.flat, damaged.items(), strict=False):
        ax.imshow(parts_picture(sample, labels))
        ax.set_title(title, fontsize=10, color=INK, pad=3)
        s = scores[title]
        text = f"FG-NMI {s['fg_nmi']:.0f}  FG-ARI {s['fg_ari']:.0f}\nkeypoint error {s['error']:.1f}"
        ax.text(0.5, -0.02, text, transform=ax.transAxes, ha="center", va="top", fontsize=9, color=INK)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.09, wspace=0.03, hspace=0.28)
    plt.close(figure)
    return figure
