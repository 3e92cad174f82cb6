"""Lesson 09, training: the starts of a run, its curves, and parts that emerge or die."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.notebook import animation, figure_bundle
from partlib_course.widgets import Interactive, choice
from PIL import Image
from torch import Tensor

from partlib.data.base import PartDataset, Sample
from partlib.evaluation import predict
from partlib.metrics import part_share
from partlib.report.plots import INK, Picture, match_parts, overlay, part_color, parts_grid, to_rgb_array
from partlib.runs import DEAD_SHARE
from partlib.segmenter import PartSegmenter

Log = Sequence[Mapping[str, float]]  # rows with "step", and losses or "share_1" ...


class Snapshots:
    """Keeps the parts of the images of ``dataset`` at some ``steps`` of a run: call it after every step."""

    def __init__(self, dataset: PartDataset, steps: Sequence[int]) -> None:
        self.dataset, self.wanted = dataset, set(steps)
        self._frames: dict[int, Tensor] = {}  # step -> (N, H, W) uint8

    def __call__(self, step: int, segmenter: PartSegmenter) -> None:
        if step not in self.wanted:
            return
        self._frames[step] = predict(segmenter, self.dataset)  # (N, H, W)

    @property
    def steps(self) -> list[int]:
        """The steps seen so far, ascending."""
        return sorted(self._frames)

    @property
    def labels(self) -> Tensor:
        """The parts at these steps, (T, N, H, W) uint8; 0 is background, 1..K are parts."""
        return torch.stack([self._frames[step] for step in self.steps])

    def shares(self, num_parts: int) -> Log:
        """Share of the foreground of each part, "share_1" ... "share_K", a row per step."""
        found = {step: part_share(self._frames[step], num_parts).tolist() for step in self.steps}
        return [{"step": s, **{f"share_{k}": v for k, v in enumerate(row, start=1)}} for s, row in found.items()]


def _label(ax: Axes, title: str, x: str = "step") -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.grid()


def starts_figure(losses: Mapping[int, Sequence[float]], chosen: int, scores: Mapping[int, float]) -> Figure:
    """Loss over the trial of every start, and beside it the means that the starts are compared by.

    ``losses`` and ``scores`` are by start: the losses of its trial, and its FG-NMI in percent at the end, for the eye.
    """
    figure = Figure(figsize=(9.6, 3.0))
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    length = len(losses[chosen])
    window = 15 if length >= 60 else 1  # of the mean that smooths
    means = {start: float(np.mean(values[length // 2 :])) for start, values in losses.items()}
    for start, values in losses.items():
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")  # (length - window + 1,)
        name, width = (f"start {start}, chosen", 2.5) if start == chosen else (f"start {start}", 1.2)
        left.plot(np.arange(len(smooth)) + 1 + window // 2, smooth, color=part_color(start + 1), lw=width, label=name)
        right.scatter(means[start], scores[start], s=70, color=part_color(start + 1))
        right.annotate(f"  start {start}", (means[start], scores[start]), va="center")
    left.axvspan(length // 2 + 1, length, color="#E3E3E3", zorder=0, label="compared")
    left.legend()
    _label(left, f"compared loss (mean of {window} steps)" if window > 1 else "compared loss")
    _label(right, "what the choice cannot see", "mean loss over the later half")
    right.set_ylabel("FG-NMI after the race (%)")
    right.margins(0.3)
    return figure


def death_figure(logs: Mapping[str, Log], num_parts: int) -> Figure:
    """Shares of the parts over the steps, a panel per run, on a scale that shows small ones; below the line is dead."""
    figure = Figure(figsize=(9.8, 3.0))
    axes = figure.subplots(1, len(logs), sharey=True, squeeze=False)[0]
    for ax, (title, log) in zip(axes, logs.items(), strict=True):
        for k in range(1, num_parts + 1):
            rows = [(row["step"], max(row[f"share_{k}"], 1e-4)) for row in log if f"share_{k}" in row]
            ax.plot(*zip(*rows, strict=True), color=part_color(k), marker="o", ms=3, label=f"part {k}")
        ax.axhline(DEAD_SHARE, color=INK, lw=1, ls="--", label="dead below")
        ax.set(yscale="log", ylim=(0.8e-4, 1.2))
        _label(ax, title)
    axes[0].set_ylabel("share of the foreground")
    axes[0].legend(fontsize="small")
    return figure


def training_curves(log: Log) -> Figure:
    """Every loss of a run over its steps, a panel each."""
    frame = pd.DataFrame(log).set_index("step")
    rows = -(-len(frame.columns) // 3)
    figure = Figure(figsize=(9.6, 2.3 * rows))
    for place, name in enumerate(frame.columns, start=1):
        ax = figure.add_subplot(rows, 3, place)
        values, color = frame[name], INK if name == "total" else part_color(1)
        if len(values) < 60:
            ax.plot(values, color=color)
        else:  # every batch has other images: the single steps pale, their running mean on top
            ax.plot(values, color=color, lw=0.5, alpha=0.25)
            ax.plot(values.rolling(25, center=True, min_periods=8).mean(), color=color)
        _label(ax, name)
    return figure


class LiveCurves:
    """Draws the losses of a run in the notebook every few steps of it: call it after every step.

    The figure is one output that is drawn anew, so that a saved notebook holds the last state only.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self._shown: Any = None

    def __call__(self, log: Log) -> None:
        """``log`` has a row for every step so far."""
        if len(log) % self.every or len(log) < 2:
            return
        from IPython.display import display

        bundle = figure_bundle(training_curves(log)) | {"text/plain": f"step {log[-1]['step']:.0f}"}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)


def same_colors(frames: Tensor, final: Tensor, truth: Tensor) -> Tensor:
    """Frames (T, N, H, W) renumbered, all alike, so that the ``final`` parts (M, H, W) of a run fit ``truth`` best."""
    steps = frames.flatten(0, 1)  # (T N, H, W)
    matched = match_parts(torch.cat([steps, final]), torch.cat([torch.zeros_like(steps), truth.to(steps.dtype)]))
    return matched[: len(steps)].view(frames.shape)  # (T N, H, W) -> (T, N, H, W)


def snapshot_strip(
    samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, *, columns: int = 7, cell: int = 112
) -> Figure:
    """Images as rows and up to ``columns`` of the T steps as columns: the parts that a network finds while it learns.

    ``labels`` are (T, N, H, W), renumbered by :func:`same_colors`.
    """
    pick = np.unique(np.linspace(0, len(steps) - 1, columns).round().astype(int))
    scale = max(1, round(2 * cell / samples[0].image.shape[-1]) // 2)
    rows: dict[str, Sequence[Picture]] = {
        sample.name: [sample.image, *(overlay(sample.image, labels[t][n], scale=scale) for t in pick)]
        for n, sample in enumerate(samples)
    }
    return parts_grid(rows, column_titles=["image", *(f"step {steps[t]}" for t in pick)], cell=cell)


def step_explorer(samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, log: Log = ()) -> Interactive:
    """Move through a training: parts (T, N, H, W) of up to eight images at one of T steps, and where the run stood."""
    options = [(str(step), t) for t, step in enumerate(steps)]
    return Interactive(
        lambda frame: step_page(samples[:8], labels[frame], steps[frame], log),
        lambda: {"frame": choice("step", options, len(steps) - 1, slide=True)},
        snapshot_strip(samples[:3], steps, labels[:, :3]),
    )


def film(samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, cell: int = 120) -> Any:
    """The frames (T, N, H, W) of a training as a GIF that plays without a kernel, one after the other."""
    frames = []
    for step, found in zip(steps, labels, strict=True):
        row = {f"step {step}": [overlay(s.image, one) for s, one in zip(samples, found, strict=True)]}
        shown = io.BytesIO()
        parts_grid(row, cell=cell).savefig(shown, format="png", dpi=100)
        frames.append(Image.open(shown).convert("RGB"))
    return animation(frames, seconds=0.35, hold=1.75)


def step_page(samples: Sequence[Sample], labels: Tensor, step: int, log: Log) -> Figure:
    """Images and their parts (N, H, W) at a step, which is marked on the curve of the loss."""
    height = 2 * 9.6 / len(samples)
    figure = Figure(figsize=(9.6, height + 1.7))
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(height, 1.7)))
    for n, (images, sample) in enumerate(zip(above.subplots(2, len(samples)).T, samples, strict=True)):
        images[0].imshow(to_rgb_array(sample.image), interpolation="lanczos")
        images[1].imshow(overlay(sample.image, labels[n], scale=2), interpolation="lanczos")
        for ax in images:
            ax.set_axis_off()
    ax = below.subplots()
    if log:
        total = pd.DataFrame(log).set_index("step")["total"]
        ax.plot(total.rolling(25, center=True, min_periods=1).mean(), color=part_color(1))
    ax.axvline(step, color=INK, lw=1.2)
    ax.set(title=f"step {step}", ylabel="total loss")
    return figure
