"""Figures of the lesson on ablations: scores with intervals over seeds, what each run found, borders seen closely."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.ablation import Outcome, Scores, interval, over_seeds
from PIL import Image
from torch import Tensor

from partlib.data.base import Sample
from partlib.report.plots import INK, Picture, overlay, part_color, parts_grid, to_rgb_array

HEADINGS = {
    "fg_nmi": "FG-NMI (%)",
    "fg_ari": "FG-ARI (%)",
    "near_nmi": "FG-NMI near borders (%)",
    "far_nmi": "FG-NMI elsewhere (%)",
    "precision": "border precision (%)",
    "recall": "border recall (%)",
    "distance": "distance of borders (pixels)",
    "edges": "image contrast across borders",
    "smallest": "share of the smallest part (%)",
}


def interval_plot(
    scores: Scores,
    titles: Sequence[str],
    names: Sequence[str] = ("fg_nmi", "fg_ari"),
    lines: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Scores of several configurations, a panel per score: a dot per seed, the mean, and its interval over the seeds.

    Parameters
    ----------
    scores : of every run, see :func:`partlib.ablation.measure`.
    titles : configurations to show, from top to bottom; the band is the interval of the first.
    names : scores to show.
    lines : {name of a line: its scores}, dashed, such as a baseline.
    """
    height = 1.1 + 0.36 * len(titles)
    figure, axes = plt.subplots(
        1, len(names), figsize=(9.6, height), dpi=100, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes[0], names, strict=True):
        _draw_intervals(ax, scores, titles, name)
        for k, (line, values) in enumerate((lines or {}).items()):
            ax.axvline(values[name], color=part_color(6 + k), ls="--", lw=1.2, label=line)
        ax.set_xlabel(HEADINGS[name], fontsize=9, color=INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, axis="x")
        ax.tick_params(labelsize=9)
    axes[0, 0].set_yticks(range(len(titles)), titles)
    axes[0, 0].set_ylim(len(titles) - 0.5, -0.5)
    if lines:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", frameon=False, fontsize=9)
    plt.close(figure)
    return figure


def _draw_intervals(ax: Axes, scores: Scores, titles: Sequence[str], name: str) -> None:
    for row, title in enumerate(titles):
        values = over_seeds(scores, title, name)
        found, color = interval(values), part_color(1 if row else 2)
        if row == 0 and len(values) > 1:
            ax.axvspan(found.low, found.high, color=color, alpha=0.15, lw=0)
        ax.errorbar(found.mean, row, xerr=found.half, color=color, marker="s", ms=6, capsize=4, lw=1.5)
        # beside the mean, so that neither hides the other
        ax.scatter(values, [row + 0.25] * len(values), s=14, color=INK, zorder=3, lw=0)


def found_rows(samples: Sequence[Sample], rows: Mapping[str, Tensor], part_names: Sequence[str] = ()) -> Figure:
    """The same images in every row, divided by one run each.

    Parameters
    ----------
    samples : n samples.
    rows : title -> labels (n, H, W) as :class:`partlib.ablation.Outcome` keeps them.
    """
    pictures: dict[str, Sequence[Picture]] = {"image": [s.image for s in samples]}
    scale = max(1, round(256 / samples[0].image.shape[-1]))
    for title, labels in rows.items():
        pictures[title] = [overlay(s.image, found, scale=scale) for s, found in zip(samples, labels, strict=True)]
    return parts_grid(pictures, legend=part_names, cell=128)


def border_zoom(
    sample: Sample, rows: Mapping[str, Tensor], corner: tuple[int, int], side: int = 44, columns: int = 5
) -> Figure:
    """A square of one image, enlarged, with the borders between found parts (black) and annotated ones (white).

    Parameters
    ----------
    sample : with annotated parts.
    rows : title -> labels (H, W).
    corner : left and upper pixel of the square.
    side : of the square in pixels.
    columns : panels in a row, of which the first holds the image alone.
    """
    assert sample.parts is not None, "the data set has no annotated parts"
    left, top = corner
    window = (slice(top, top + side), slice(left, left + side))
    crop = to_rgb_array(sample.image)[window]
    crop = np.asarray(Image.fromarray(crop).resize((6 * side, 6 * side), Image.Resampling.BICUBIC))
    rows_needed = -(-(len(rows) + 1) // columns)
    figure, grid = plt.subplots(
        rows_needed, columns, figsize=(9.6, (9.6 / columns + 0.25) * rows_needed), dpi=100, squeeze=False
    )
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, (title, labels) in zip(grid.flat, {"image": None, **rows}.items(), strict=False):
        ax.imshow(crop, extent=(-0.5, side - 0.5, side - 0.5, -0.5))
        ax.set_title(title, fontsize=10, color=INK)
        if labels is not None:
            _draw_borders(ax, sample.parts[window].numpy(), "white", 2.5)
            _draw_borders(ax, labels[window].numpy(), "black", 1.4)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.94, bottom=0.01, wspace=0.03, hspace=0.12)
    plt.close(figure)
    return figure


def _draw_borders(ax: Axes, labels: np.ndarray, color: str, width: float) -> None:
    """Lines between pixels of different parts; none along the background."""
    for (y, x), here in np.ndenumerate(labels):
        if here and x + 1 < labels.shape[1] and labels[y, x + 1] not in (0, here):
            ax.plot([x + 0.5, x + 0.5], [y - 0.5, y + 0.5], color=color, lw=width)
        if here and y + 1 < labels.shape[0] and labels[y + 1, x] not in (0, here):
            ax.plot([x - 0.5, x + 0.5], [y + 0.5, y + 0.5], color=color, lw=width)


def run_strip(sample: Sample, outcomes: Mapping[str, Outcome], index: int) -> Figure:
    """One image as each run divides it, the scores of the run below.

    Parameters
    ----------
    sample : the image.
    outcomes : title -> outcome of one run.
    index : of ``sample`` among the images that the outcomes keep.
    """
    columns = 7
    rows = -(-len(outcomes) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(9.6, 2.05 * rows), dpi=100, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, (title, one) in zip(grid.flat, outcomes.items(), strict=False):
        ax.imshow(overlay(sample.image, one.labels[index], scale=2))
        ax.set_title(title, fontsize=9, color=INK, pad=3)
        text = f"NMI {one.scores['fg_nmi']:.0f}  ARI {one.scores['fg_ari']:.0f}"
        ax.text(0.5, -0.03, text, transform=ax.transAxes, ha="center", va="top", fontsize=9, color=INK)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.9, bottom=0.08, wspace=0.04, hspace=0.35)
    plt.close(figure)
    return figure


def run_page(samples: Sequence[Sample], one: Outcome, heading: str, base: Mapping[str, float]) -> Figure:
    """A few images as one run divides them, and its scores as bars, those of the base run marked.

    Parameters
    ----------
    samples : n samples.
    one : the run; its labels are those of the samples.
    heading : written above.
    base : scores to compare with.
    """
    figure = plt.figure(figsize=(9.6, 3.3), dpi=100)
    figure.text(0.01, 0.95, heading, fontsize=10, color=INK, va="top")
    for c, (sample, labels) in enumerate(zip(samples, one.labels, strict=True)):
        ax = figure.add_axes((0.01 + 0.62 * c / len(samples), 0.08, 0.6 / len(samples), 0.74))
        ax.imshow(overlay(sample.image, labels, scale=2))
        ax.set_axis_off()
    bars = figure.add_axes((0.78, 0.16, 0.2, 0.66))
    names = ("fg_nmi", "fg_ari", "near_nmi", "precision")
    for y, name in enumerate(names):
        bars.barh(y, one.scores[name], color=part_color(y + 1))
        bars.plot([base[name]] * 2, [y - 0.42, y + 0.42], color=INK, lw=2)
    bars.set_yticks(range(len(names)), [HEADINGS[n].replace(" (%)", "").replace(" ", "\n", 1) for n in names])
    bars.set(xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
    bars.set_xlabel("percent; black line: all four", fontsize=8)
    bars.tick_params(labelsize=8)
    bars.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
