"""Interactive: losses drawn while a run goes on, and a slider through its steps."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from partlib_course.curves import Log, loss_curves
from partlib_course.figures_training import film_strip, same_colors
from partlib_course.notebook import figure_bundle
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.data.base import Sample
from partlib.errors import DataError
from partlib.report.plots import INK, overlay, part_color, to_rgb_array
from partlib.training import Trainer


class LiveCurves:
    """Draws the losses of a run in the notebook while it trains; to be handed to ``train`` as ``on_step``.

    The figure is one output that is drawn anew, so that a saved notebook holds the last state only.

    Parameters
    ----------
    every : steps between two drawings.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self._shown: Any = None

    def __call__(self, trainer: Trainer, terms: dict[str, Tensor] | None = None) -> None:
        due = trainer.step % self.every == 0 or trainer.step == trainer.config.steps
        if due and len(trainer.log) >= 2:
            self._draw(trainer.log)

    def finish(self, log: Log) -> None:
        """Draw the whole log of a run that has ended, also where it was loaded and no step was seen."""
        self._draw(log)

    def _draw(self, log: Log) -> None:
        from IPython.display import display

        bundle: dict[str, Any] = {**figure_bundle(loss_curves(log)), "text/plain": f"step {log[-1]['step']}"}
        if self._shown is None:
            self._shown = display(bundle, raw=True, display_id=True)
        else:
            self._shown.update(bundle, raw=True)


def step_explorer(samples: Sequence[Sample], steps: Sequence[int], labels: Tensor, log: Log = ()) -> Interactive:
    """Move through a training: the parts of a few images at one step, and where the run stood.

    Parameters
    ----------
    samples : N samples, at most eight are drawn.
    steps : T steps, ascending.
    labels : (T, N, H, W), see :class:`partlib.film.Film`.
    log : of the run, for a curve below; validation scores where it has any, else the total loss.

    Raises
    ------
    DataError : number of frames or of images that do not fit.
    """
    if tuple(labels.shape[:2]) != (len(steps), len(samples)) or not len(steps):
        raise DataError(
            f"labels are of {labels.shape[0]} steps and {labels.shape[1]} images; expected {len(steps)} steps "
            f"(at least one) and {len(samples)} images"
        )
    painted = same_colors(samples, labels)

    def draw(frame: int) -> Figure:
        return _frame(samples[:8], painted[frame], steps[frame], log)

    def controls() -> Controls:
        from ipywidgets import SelectionSlider

        options = [(str(step), t) for t, step in enumerate(steps)]
        slider: Any = SelectionSlider(
            options=options, value=len(steps) - 1, description="step", continuous_update=False
        )
        return {"frame": slider}

    return Interactive(draw, controls, film_strip(samples[:3], steps, labels[:, :3], cell=112))


def _frame(samples: Sequence[Sample], labels: Tensor, step: int, log: Log) -> Figure:
    columns = len(samples)
    figure = plt.figure(figsize=(9.6, 2 * 9.6 / columns + 1.7), dpi=100)
    height = 9.6 / columns / figure.get_figheight()  # of one picture, as a part of the figure
    for n, sample in enumerate(samples):
        for row, picture in enumerate((to_rgb_array(sample.image), overlay(sample.image, labels[n], scale=2))):
            ax = figure.add_axes((n / columns, 1 - (row + 1) * height, 0.98 / columns, 0.98 * height))
            ax.imshow(picture, interpolation="lanczos")
            ax.set_axis_off()
    ax = figure.add_axes((0.07, 0.42 / figure.get_figheight(), 0.91, 1.05 / figure.get_figheight()))
    name = "val_fg_nmi" if any("val_fg_nmi" in e for e in log) else "total"
    rows = [(float(str(e["step"])), float(str(e[name]))) for e in log if name in e]
    if rows:
        ax.plot(*zip(*rows, strict=True), color=part_color(1), marker="o", ms=3)
    ax.axvline(step, color=INK, lw=1.2)
    ax.set_ylabel("FG-NMI (%)" if name == "val_fg_nmi" else "total loss", fontsize=8)
    ax.set_title(f"step {step}", fontsize=10, color=INK)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
