"""Interactive: what the temperature does to the similarity matrix."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from partlib_course.figures_contrast import temperature_figure
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.errors import DataError

STATIC_TEMPERATURES = (0.05, 0.19, 1.0)


def temperature_explorer(descriptors: Tensor, names: Sequence[str], part: int = 0) -> Interactive:
    """Choose a part and a temperature; see which descriptors pull on this part of the first image, and the matrix.

    Parameters
    ----------
    descriptors : (B, K, C).
    names : of the K parts.
    part : the one that is shown first.
    """
    if descriptors.ndim != 3 or descriptors.shape[1] != len(names):
        raise DataError(f"descriptors {tuple(descriptors.shape)} for {len(names)} names; expected (images, parts, C)")

    def draw(part: int, temperature: float) -> Figure:
        return temperature_figure(descriptors, names, part, [temperature])

    def controls() -> Controls:
        from ipywidgets import Dropdown, FloatLogSlider

        return {
            "part": Dropdown(options=[(name, k) for k, name in enumerate(names)], value=part, description="part"),
            "temperature": FloatLogSlider(
                0.19, min=-2, max=1, step=0.05, description="temperature", continuous_update=False
            ),
        }

    return Interactive(draw, controls, temperature_figure(descriptors, names, part, STATIC_TEMPERATURES))
