"""Interactive pictures of the notebooks. Each is a static figure as well.

A notebook shows an :class:`Interactive` as the last expression of a cell. Where a front end runs ipywidgets it gets
controls and a picture that follows them; GitHub, nbviewer, printed copies and installations without ipywidgets get the
static figure of the same output.
"""

from base64 import b64decode
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.notebook import figure_bundle
from torch import Tensor

from partlib.report.plots import INK, part_color
from partlib.warps import NUM_POINTS, identity_points, similarity

Controls = dict[str, Any]  # argument of a drawing -> ipywidget; ipywidgets is optional, so its types are not named
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class Interactive:
    """A picture with controls, and a static figure for where there are none.

    Parameters
    ----------
    draw : values of the controls -> Figure.
    make_controls : returns {argument of ``draw``: control}; called only where ipywidgets is installed.
    static : figure to show instead.

    Attributes
    ----------
    controls : the ipywidgets by name; empty without ipywidgets.
    picture : the ``ipywidgets.Image`` that follows them, or None.
    """

    def __init__(self, draw: Callable[..., Figure], make_controls: Callable[[], Controls], static: Figure) -> None:
        self.draw, self.static = draw, static
        self.controls: Controls = {}
        self.picture: Any = None
        if find_spec("ipywidgets") is None:
            return
        import ipywidgets

        self.controls = make_controls()
        # without it the box stretches the picture to the width of the page, and its text blurs
        self.picture = ipywidgets.Image(layout={"align_self": "flex-start"})
        self._box = ipywidgets.VBox([ipywidgets.VBox(list(self.controls.values())), self.picture])
        for control in self.controls.values():
            control.observe(self._update, names="value")
        self._update()

    def _update(self, _change: object = None) -> None:
        figure = self.draw(**{name: control.value for name, control in self.controls.items()})
        ((kind, encoded),) = figure_bundle(figure).items()
        with self.picture.hold_sync():
            self.picture.format, self.picture.value = kind.removeprefix("image/"), b64decode(encoded)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Both views; a front end picks the richest that it can show."""
        bundle: dict[str, Any] = {"text/plain": "interactive figure", **figure_bundle(self.static)}
        if self.picture is not None:
            bundle[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        return bundle


def slider(name: str, value: float, low: float, high: float, step: float = 1, log: bool = False) -> Any:
    """A slider of whole numbers where ``step`` is one, else of fractions; with ``log``, of powers of 10."""
    import ipywidgets

    kinds = {True: ipywidgets.IntSlider, False: ipywidgets.FloatSlider}
    kind = ipywidgets.FloatLogSlider if log else kinds[isinstance(step, int)]
    return kind(value, min=low, max=high, step=step, description=name, continuous_update=False)


def choice(name: str, options: Sequence[Any], value: Any, slide: bool = False) -> Any:
    """One of several values, or of several (title, value): a menu, or a slider where they have an order."""
    import ipywidgets

    if slide:
        return ipywidgets.SelectionSlider(options=options, value=value, description=name, continuous_update=False)
    return ipywidgets.Dropdown(options=options, value=value, description=name)


def warp_sliders(scale: float = 1.0, angle: float = 0.0) -> Controls:
    """Sliders of the arguments of :func:`source_points`, with the middle point moved."""
    return {
        "point": slider("point", NUM_POINTS // 2, 0, NUM_POINTS - 1),
        "dx": slider("move x", 0.2, -0.4, 0.4, 0.05),
        "dy": slider("move y", -0.2, -0.4, 0.4, 0.05),
        "scale": slider("scale", scale, 0.5, 1.4, 0.05),
        "angle": slider("angle", angle, -60, 60, 5.0),
    }


def source_points(point: int, dx: float, dy: float, scale: float, angle: float) -> Tensor:
    """The lattice (25, 2) of control points with one moved, then all scaled and turned by ``angle`` degrees."""
    moved = identity_points()
    moved[point] += torch.tensor([dx, dy])
    return similarity(moved[None], torch.tensor([scale]), torch.tensor([angle]), torch.zeros(1, 2))[0]


def number_points(ax: Axes, points: Tensor, chosen: int | None = None) -> None:
    """Control points (25, 2) as dots with their numbers; the ``chosen`` one in orange."""
    colors = [part_color(6) if number == chosen else "white" for number in range(len(points))]
    ax.scatter(*points.cpu().numpy().T, s=110, color=colors, edgecolor=part_color(1), lw=0.9, zorder=3)
    for number, (x, y) in enumerate(points.tolist()):
        style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8, "zorder": 4, "clip_on": True}
        ax.text(x, y, str(number), color="white" if number == chosen else INK, **style)
