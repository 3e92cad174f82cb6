"""Interactive: drag a warp and watch the two ways around the square part company."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from partlib_course.equivariance_study import Network
from partlib_course.figures_equivariance import square_figure, warp_page
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.errors import ConfigError
from partlib.warps import NUM_POINTS, identity_points, similarity


def source_points(point: int, dx: float, dy: float, scale: float, angle: float) -> Tensor:
    """The lattice (25, 2) with one point moved, then all scaled and turned by ``angle`` degrees."""
    moved = identity_points()
    moved[point] += torch.tensor([dx, dy])
    return similarity(moved[None], torch.tensor([scale]), torch.tensor([angle]), torch.zeros(1, 2))[0]


def equivariance_explorer(networks: Mapping[str, Network], image: Tensor, foreground: Tensor) -> Interactive:
    """Choose a network, move one control point, scale and turn; see both ways around the square and the loss.

    Parameters
    ----------
    networks : name -> network; the last is shown first.
    image, foreground : (3, H, W) and (1, H, W).
    """
    if not networks or image.ndim != 3 or foreground.ndim != 3:
        raise ConfigError(
            f"{len(networks)} networks, image {tuple(image.shape)}, foreground {tuple(foreground.shape)}; "
            "expected at least one network, (3, H, W) and (1, H, W)"
        )

    def draw(network: str, **values: Any) -> Figure:
        return warp_page(networks[network], image, foreground, source_points(**values))

    def controls() -> Controls:
        from ipywidgets import Dropdown, FloatSlider, IntSlider

        def slider(name: str, value: float, low: float, high: float, step: float) -> Any:
            return FloatSlider(value, min=low, max=high, step=step, description=name, continuous_update=False)

        return {
            "network": Dropdown(options=list(networks), value=list(networks)[-1], description="network"),
            "point": IntSlider(NUM_POINTS // 2, 0, NUM_POINTS - 1, description="point", continuous_update=False),
            "dx": slider("move x", 0.2, -0.4, 0.4, 0.05),
            "dy": slider("move y", -0.2, -0.4, 0.4, 0.05),
            "scale": slider("scale", 1.1, 0.5, 1.4, 0.05),
            "angle": slider("angle", 30.0, -60, 60, 5),
        }

    static = square_figure(networks, image, foreground, source_points(12, 0.2, -0.2, 1.1, 30.0))
    return Interactive(draw, controls, static)
