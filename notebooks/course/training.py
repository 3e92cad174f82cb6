"""Lesson 09, training: objective, schedule and starts of a run, its curves, and parts that emerge or die."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.notebook import figure_bundle
from partlib_course.widgets import Interactive, choice
from safetensors.torch import load_file, save_file
from torch import Tensor

from partlib.config import LOSSES, TrainConfig
from partlib.data.base import PartDataset, Sample
from partlib.errors import ConfigError
from partlib.evaluation import predict
from partlib.metrics import part_share
from partlib.paper.release import recipe_of
from partlib.paths import write_atomically
from partlib.report.plots import INK, PART_COLORS, Picture, match_parts, overlay, part_color, parts_grid, to_rgb_array
from partlib.runs import DEAD_SHARE
from partlib.training import Trainer

Log = Sequence[Mapping[str, float]]  # rows with "step" and losses, and where evaluated "val_..." and "share_1" ...


def read_log(path: Path) -> Log:
    """The rows of a run's ``log.csv``, which grows at every checkpoint; cells that are empty are left out."""
    return [row.dropna().to_dict() for _, row in pd.read_csv(path).iterrows()]


class Snapshots:
    """Keeps the parts of the images of ``dataset`` at some ``steps`` of a run; for the ``on_step`` of ``train``.

    Where a ``path`` is given they are kept in that file too, for a run that goes on later or is only loaded.
    """

    def __init__(self, dataset: PartDataset, steps: Sequence[int], path: Path | None = None) -> None:
        self.dataset, self.wanted, self.path = dataset, set(steps), path
        self._frames: dict[int, Tensor] = {}  # step -> (N, H, W) uint8
        if path is not None and path.is_file():
            self._frames = {int(step): labels for step, labels in load_file(path).items()}
            expected = (len(dataset), *dataset[0].image.shape[-2:])
            if any(labels.shape != expected for labels in self._frames.values()):
                raise ConfigError(f"{path} holds other images than the {expected[0]} asked for; delete it")

    def __call__(self, trainer: Trainer, terms: dict[str, Tensor] | None = None) -> None:
        if trainer.step not in self.wanted:
            return
        self._frames[trainer.step] = predict(trainer.segmenter, self.dataset)  # (N, H, W)
        if self.path is not None:
            write_atomically(self.path, lambda file: save_file({str(s): f for s, f in self._frames.items()}, file))

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


def loss_shares(log: Log, config: TrainConfig) -> dict[str, np.ndarray]:
    """What each weighted loss contributes to the total at every logged step, as fractions (n,) that sum to 1."""
    names = [name for name in LOSSES if config.weight(name) and name in log[0]]
    weighted = np.array([[config.weight(name) * row[name] for row in log] for name in names])  # (terms, n)
    return dict(zip(names, weighted / weighted.sum(0), strict=True))


def _label(ax: Axes, title: str, x: str = "step") -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.grid()


def share_figure(log: Log, config: TrainConfig) -> Figure:
    """The weighted losses of a run: their values, and stacked as shares of the total."""
    steps, totals = ([row[name] for row in log] for name in ("step", "total"))
    shares = loss_shares(log, config)
    figure = Figure(figsize=(9.6, 3.2))
    left, right = figure.subplots(1, 2)
    colors = PART_COLORS[: len(shares)]
    for (name, share), color in zip(shares.items(), colors, strict=True):
        left.plot(steps, share * totals, color=color, label=f"{config.weight(name):g} x {name}")
    left.plot(steps, totals, color=INK, lw=1, ls="--", label="total")
    left.set_ylim(bottom=0)
    right.stackplot(steps, list(shares.values()), colors=colors)
    right.set(ylim=(0, 1), xlim=(steps[0], steps[-1]))
    _label(left, "weighted losses")
    _label(right, "share of the total")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(shares) + 1)
    return figure


def schedule_figure(configs: Mapping[str, TrainConfig]) -> Figure:
    """Learning rates of decoder and backbone over the steps of several configurations, a panel each."""
    figure = Figure(figsize=(3.2 * len(configs), 2.7))
    for ax, (name, c) in zip(figure.subplots(1, len(configs), squeeze=False)[0], configs.items(), strict=True):
        steps = np.linspace(0, c.steps, 200)
        schedule = recipe_of(c)(c).schedule()
        factor = np.array([schedule.lr_factor(step) for step in steps])  # (200,)
        ax.plot(steps, c.lr * factor, color=part_color(1), label="decoder")
        ax.plot(steps, c.backbone_lr * factor, color=part_color(2), label="backbone")
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, -3))
        _label(ax, f"{name}: batches of {c.batch_size}")
    figure.axes[0].legend()
    return figure


def starts_figure(losses: Mapping[int, Sequence[float]], chosen: int, scores: Mapping[int, float]) -> Figure:
    """Loss over the trial of every start, and beside it the means that the starts are compared by.

    ``losses`` and ``scores`` are by start: the losses of its trial, and its FG-NMI in percent at the end, for the eye.
    """
    figure = Figure(figsize=(9.6, 3.0))
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    length = len(losses[chosen])
    window = 5 if length >= 10 else 1  # of the mean that smooths
    means = {start: float(np.mean(values[length // 2 :])) for start, values in losses.items()}
    for start, values in losses.items():
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")  # (length - window + 1,)
        name, width = (f"start {start}, chosen", 2.5) if start == chosen else (f"start {start}", 1.2)
        left.plot(np.arange(len(smooth)) + 1 + window // 2, smooth, color=part_color(start + 1), lw=width, label=name)
        right.barh(start, means[start], color=part_color(start + 1))
        right.text(means[start], start, f" {means[start]:.2f}, FG-NMI {scores[start]:.0f}", va="center")
    left.axvspan(length // 2 + 1, length, color="#E3E3E3", zorder=0, label="compared")
    left.legend()
    _label(left, f"loss of the trial (mean of {window} steps)" if window > 1 else "loss of the trial")
    _label(right, "mean over the later half", "loss")
    low, high = min(means.values()), max(means.values())
    edge = max(0.0, low - 2 * (high - low))  # bars of nearly equal losses should still differ to the eye
    right.set(xlim=(edge, high + 0.45 * (high - edge)), yticks=list(losses))
    right.invert_yaxis()
    return figure


def death_figure(logs: Mapping[str, Log], num_parts: int) -> Figure:
    """Shares of the parts over the steps, a panel per run, on a scale that shows small ones; below the line is dead."""
    figure = Figure(figsize=(4.8 * len(logs), 3.0))
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


def training_curves(log: Log, only_losses: bool = False) -> Figure:
    """Every loss of a run over its steps, a panel each, then validation scores and shares of parts, where logged."""
    panels: dict[str, list[str]] = {}
    for name in pd.DataFrame(log).columns.drop(["step", "lr"], errors="ignore"):
        title = {"val": "validation scores (%)", "share": "share of the foreground"}.get(name.split("_")[0], name)
        if title == name or not only_losses:
            panels.setdefault(title, []).append(name)
    rows, columns = -(-len(panels) // 4), min(4, len(panels))
    figure = Figure(figsize=(3.1 * columns, 2.4 * rows))
    for place, (title, names) in enumerate(panels.items(), start=1):
        ax = figure.add_subplot(rows, columns, place)
        for k, name in enumerate(names, start=1):
            steps, values = np.array([(row["step"], row[name]) for row in log if name in row]).T  # (n,) each
            label = name.removeprefix("val_").replace("_", " ").replace("share", "part")
            color = part_color(k) if len(names) > 1 else INK
            ax.plot(steps, values, color=color, label=label, marker="o" if len(steps) < 15 else "", ms=3)
        if len(names) > 1:
            ax.legend(ncols=2, fontsize="x-small")
            ax.set_ylim(bottom=0)
        _label(ax, title)
    return figure


class LiveCurves:
    """Draws the losses of a run in the notebook every few steps of it; for the ``on_step`` of ``train``.

    The figure is one output that is drawn anew, so that a saved notebook holds the last state only.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self._seen: list[dict[str, Any]] = []
        self._shown: Any = None

    def __call__(self, trainer: Trainer, terms: dict[str, Tensor]) -> None:
        self._seen.append({"step": trainer.step, **terms})  # as tensors: reading them would wait for a GPU
        if trainer.step % self.every == 0 and len(self._seen) > 1:
            self.finish([{name: float(value) for name, value in row.items()} for row in self._seen])

    def finish(self, log: Log) -> None:
        """Draw a whole log, also of a run that was loaded and of which no step was seen."""
        from IPython.display import display

        bundle = figure_bundle(training_curves(log, only_losses=True)) | {"text/plain": f"step {log[-1]['step']:.0f}"}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)


def same_colors(samples: Sequence[Sample], labels: Tensor) -> Tensor:
    """Steps (T, N, H, W) renumbered, all alike, so that the last one fits the annotation best."""
    annotated = torch.zeros_like(labels)
    annotated[-1] = torch.stack([s.parts for s in samples if s.parts is not None])  # (N, H, W)
    return match_parts(labels, annotated)


def snapshot_strip(
    samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, *, columns: int = 7, cell: int = 112
) -> Figure:
    """Images as rows and up to ``columns`` of the T steps as columns: the parts that a network finds while it learns.

    ``labels`` are (T, N, H, W); a part has one color at all steps, see :func:`same_colors`.
    """
    pick = np.unique(np.linspace(0, len(steps) - 1, columns).round().astype(int))
    painted = same_colors(samples, labels)
    scale = max(1, round(2 * cell / samples[0].image.shape[-1]) // 2)
    rows: dict[str, Sequence[Picture]] = {
        sample.name: [sample.image, *(overlay(sample.image, painted[t][n], scale=scale) for t in pick)]
        for n, sample in enumerate(samples)
    }
    return parts_grid(rows, column_titles=["image", *(f"step {steps[t]}" for t in pick)], cell=cell)


def step_explorer(samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, log: Log = ()) -> Interactive:
    """Move through a training: parts (T, N, H, W) of up to eight images at one of T steps, and where the run stood."""
    painted = same_colors(samples, labels)
    options = [(str(step), t) for t, step in enumerate(steps)]
    return Interactive(
        lambda frame: step_page(samples[:8], painted[frame], steps[frame], log),
        lambda: {"frame": choice("step", options, len(steps) - 1, slide=True)},
        snapshot_strip(samples[:3], steps, labels[:, :3]),
    )


def step_page(samples: Sequence[Sample], labels: Tensor, step: int, log: Log) -> Figure:
    """Images and their parts (N, H, W) at a step, which is marked on the curve of scores or, without any, of losses."""
    height = 2 * 9.6 / len(samples)
    figure = Figure(figsize=(9.6, height + 1.7))
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=(height, 1.7)))
    for n, (images, sample) in enumerate(zip(above.subplots(2, len(samples)).T, samples, strict=True)):
        images[0].imshow(to_rgb_array(sample.image), interpolation="lanczos")
        images[1].imshow(overlay(sample.image, labels[n], scale=2), interpolation="lanczos")
        for ax in images:
            ax.set_axis_off()
    ax = below.subplots()
    name = "val_fg_nmi" if any("val_fg_nmi" in row for row in log) else "total"
    if rows := [(row["step"], row[name]) for row in log if name in row]:
        ax.plot(*zip(*rows, strict=True), color=part_color(1), marker="o", ms=3)
    ax.axvline(step, color=INK, lw=1.2)
    ax.set(title=f"step {step}", ylabel="FG-NMI (%)" if name == "val_fg_nmi" else "total loss")
    return figure
