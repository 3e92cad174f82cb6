"""Curves of a training run: losses, and where they were logged, validation scores and part shares. Only reads."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from partlib.errors import DataError
from partlib.report.plots import INK, part_color, save_png

Log = Sequence[Mapping[str, object]]


def loss_curves(log: Log, path: str | Path | None = None) -> Figure:
    """Every loss of a run over its steps, a panel each: their scales have nothing in common.

    Parameters
    ----------
    log : one mapping per logged step, as ``TrainResult.log`` or the rows of ``log.csv`` (text is converted): "step",
        losses, and where evaluated "val_fg_nmi" ... and "share_1" ... Missing and empty values are skipped.
    path : PNG to write, or None.
    """
    return _curves(log, [(name, [name]) for name in _columns(log)["losses"]], path)


def training_curves(log: Log, path: str | Path | None = None) -> Figure:
    """Losses as in :func:`loss_curves`, then the validation scores and the share of each part, where logged."""
    columns = _columns(log)
    panels = [(name, [name]) for name in columns["losses"]]
    if columns["scores"]:
        panels.append(("validation scores (%)", columns["scores"]))
    if columns["shares"]:
        panels.append(("share of the foreground", columns["shares"]))
    return _curves(log, panels, path)


def _columns(log: Log) -> dict[str, list[str]]:
    """Names of the logged values by kind, in the order in which they appear."""
    names = list(dict.fromkeys(name for entry in log for name in entry if name not in ("step", "lr")))
    shares = [name for name in names if name.startswith("share_")]
    scores = [name for name in names if name.startswith("val_")]
    losses = [name for name in names if name not in shares and name not in scores]
    if not losses or "step" not in log[0]:
        raise DataError("the log has no losses; expected mappings with 'step' and at least one loss")
    return {"losses": losses, "scores": scores, "shares": shares}


def _series(log: Log, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values (n,) where ``name`` was logged."""
    pairs = [(float(str(e["step"])), float(str(e[name]))) for e in log if e.get(name) not in (None, "")]
    return np.array([step for step, _ in pairs]), np.array([value for _, value in pairs])


def _curves(log: Log, panels: list[tuple[str, list[str]]], path: str | Path | None) -> Figure:
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.4 * rows), squeeze=False, layout="constrained", dpi=100
    )
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, names) in zip(axes.flat, panels, strict=False):
        for k, name in enumerate(names, start=1):
            steps, values = _series(log, name)
            label = name.removeprefix("val_").replace("_", " ").replace("share", "part")
            color = part_color(k) if len(names) > 1 else INK
            ax.plot(steps, values, color=color, lw=1.5, label=label, marker="o" if len(steps) < 15 else "", ms=3)
        if len(names) > 1:
            ax.legend(fontsize=7, frameon=False, ncols=2)
            ax.set_ylim(bottom=0)
        ax.set_title(title, fontsize=9, color=INK, loc="left")
        ax.set_xlabel("step", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    plt.close(figure)
    if path is not None:
        save_png(figure, path)
    return figure
