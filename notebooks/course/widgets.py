"""Interactive pictures of the notebooks. Each is a static figure as well.

A notebook shows an :class:`Interactive` as the last expression of a cell. Where a front end runs ipywidgets it gets
controls and a picture that follows them; GitHub, nbviewer, printed copies and installations without ipywidgets get the
static figure of the same output.
"""

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from partlib_course.figures import warp_figure
from partlib_course.notebook import figure_bundle
from torch import Tensor

from partlib.data.base import PartDataset
from partlib.errors import ConfigError, DataError
from partlib.report.plots import INK, match_parts, overlay, part_color, results_grid, to_rgb_array
from partlib.warps import NUM_POINTS, identity_points, similarity

Controls = dict[str, Any]  # name -> ipywidget; ipywidgets is optional, so its types are not named here
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class Interactive:
    """A picture with controls, and a static figure for where there are none.

    Parameters
    ----------
    draw : values of the controls -> Figure.
    make_controls : returns {argument of ``draw``: ipywidget}; called only where ipywidgets is installed.
    static : figure to show instead.

    Attributes
    ----------
    controls : the ipywidgets by name; empty without ipywidgets.
    picture : the ``ipywidgets.Image`` that follows them, or None.
    """

    def __init__(
        self, draw: Callable[..., Figure], make_controls: Callable[[], dict[str, Any]], static: Figure
    ) -> None:
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


def part_browser(dataset: PartDataset, labels: Mapping[str, Tensor], columns: Sequence[int] = range(6)) -> Interactive:
    """Look through a data set: each image beside its annotated parts and the parts that one of several methods found.

    Parameters
    ----------
    dataset : N samples with annotated parts.
    labels : method -> labels (N, H, W), 0 is background; the last is shown first. Colours follow the annotated part
        that a found part overlaps most over the whole data set.
    columns : samples that the static figure shows.

    Raises
    ------
    DataError : labels of another number of images, or samples without parts.
    """
    annotated = [dataset[i].parts for i in range(len(dataset))]
    for name, found in labels.items():
        if len(found) != len(annotated):
            raise DataError(f"{name} has labels of {len(found)} images; expected {len(annotated)}, one per sample")
    if not annotated or any(parts is None for parts in annotated):
        raise DataError(f"data set {dataset.name!r} has no annotated parts to show")
    truth = torch.stack([parts for parts in annotated if parts is not None])  # (N, H, W)
    matched = {name: match_parts(found, truth).to(torch.uint8) for name, found in labels.items()}  # (N, H, W) each

    def draw(image: int, method: str, opacity: float) -> Figure:
        return _browser_page(dataset, image, {"annotated": truth[image], method: matched[method][image]}, opacity)

    def controls() -> Controls:
        from ipywidgets import Dropdown, FloatSlider, IntSlider

        return {
            "image": IntSlider(0, 0, len(dataset) - 1, description="image", continuous_update=False),
            "method": Dropdown(options=list(labels), value=list(labels)[-1], description="method"),
            "opacity": FloatSlider(0.6, min=0, max=1, step=0.1, description="opacity", continuous_update=False),
        }

    pick = list(columns)
    shown = {name: found[pick] for name, found in labels.items()}
    static = results_grid([dataset[i] for i in pick], shown, part_names=dataset.part_names, cell=128)
    return Interactive(draw, controls, static)


def _browser_page(dataset: PartDataset, index: int, labels: Mapping[str, Tensor], opacity: float) -> Figure:
    sample = dataset[index]
    scale = max(1, round(256 / sample.image.shape[-1]))
    figure, axes = plt.subplots(1, 1 + len(labels), figsize=(9.0, 3.5), dpi=100)
    species = dataset.label_names[sample.label] if dataset.label_names else ""
    axes[0].imshow(to_rgb_array(sample.image), interpolation="lanczos")
    axes[0].set_title(f"{sample.name}  {species}", fontsize=9, color=INK)
    for ax, (title, found) in zip(axes[1:], labels.items(), strict=True):
        ax.imshow(overlay(sample.image, found, alpha=opacity, scale=scale))
        ax.set_title(title, fontsize=9, color=INK)
    for ax in axes:
        ax.set_axis_off()
    handles = [plt.Rectangle((0, 0), 1, 1, color=part_color(k + 1)) for k in range(len(dataset.part_names))]
    figure.legend(
        handles, dataset.part_names, loc="lower center", ncols=max(1, len(handles)), frameon=False, fontsize=9
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.92, bottom=0.1, wspace=0.03)
    plt.close(figure)
    return figure


def warp_explorer(image: Tensor) -> Interactive:
    """Move one control point of a thin-plate spline, then scale and turn all of them; see the warped image.

    Parameters
    ----------
    image : (3, H, W) in [0, 1].
    """
    if image.ndim != 3:
        raise ConfigError(f"image has shape {tuple(image.shape)}; expected (3, H, W)")

    def points(point: int, dx: float, dy: float, scale: float, angle: float) -> Tensor:
        moved = identity_points()
        moved[point] += torch.tensor([dx, dy])
        return similarity(moved[None], torch.tensor([scale]), torch.tensor([angle]), torch.zeros(1, 2))[0]  # (25, 2)

    def draw(**values: Any) -> Figure:
        return warp_figure(image, [points(**values)], ["where it is read"])

    def controls() -> Controls:
        from ipywidgets import FloatSlider, IntSlider

        def slider(name: str, value: float, low: float, high: float, step: float) -> Any:
            return FloatSlider(value, min=low, max=high, step=step, description=name, continuous_update=False)

        return {
            "point": IntSlider(NUM_POINTS // 2, 0, NUM_POINTS - 1, description="point", continuous_update=False),
            "dx": slider("move x", 0.2, -0.4, 0.4, 0.05),
            "dy": slider("move y", -0.2, -0.4, 0.4, 0.05),
            "scale": slider("scale", 1.0, 0.5, 1.4, 0.05),
            "angle": slider("angle", 0.0, -60, 60, 5),
        }

    examples = {
        "identity": (12, 0.0, 0.0, 1.0, 0.0),
        "one point moved": (12, 0.25, -0.2, 1.0, 0.0),
        "scale below 1 magnifies": (12, 0.0, 0.0, 0.7, 0.0),
        "turned, one point moved": (12, 0.25, -0.2, 1.1, 30.0),
    }
    static = warp_figure(image, [points(*values) for values in examples.values()], list(examples))
    return Interactive(draw, controls, static)
