"""Widget of the notebook on features: clusters of any number, of the features of any layer."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from matplotlib.figure import Figure
from partlib_course.widgets import Controls, Interactive
from torch import Tensor

from partlib.data.base import Sample
from partlib.errors import DataError
from partlib.report.baselines import FeatureKMeans
from partlib.report.plots import match_parts, overlay, parts_grid

Levels = Sequence[Tensor | np.ndarray]


def cluster_explorer(
    images: Tensor,
    foregrounds: Tensor,
    layers: Mapping[str, Levels],
    samples: Sequence[Sample],
    sample_layers: Mapping[str, Levels],
    largest: int = 8,
) -> Interactive:
    """k-means on features: choose the layer and K, see the clusters on a few images.

    Parameters
    ----------
    images, foregrounds : (N, 3, H, W) and (N, 1, H, W), what k-means is fitted to.
    layers : name -> feature maps (N, C_l, h_l, w_l) of these images; several maps count as stacked.
    samples : M images that are shown.
    sample_layers : the same names -> features of the samples.
    largest : largest K.

    Raises
    ------
    DataError : a layer that the samples do not have.
    """
    missing = [name for name in layers if name not in sample_layers]
    if missing or not samples:
        raise DataError(f"samples have no features {missing[0]!r}" if missing else "no samples to show; expected some")
    shown = torch.stack([s.image for s in samples])  # (M, 3, H, W)
    masks = torch.stack([s.foreground for s in samples])  # (M, 1, H, W)
    truth = torch.stack([s.parts for s in samples if s.parts is not None] or [masks[:, 0].long()])

    @lru_cache(maxsize=64)
    def clusters(layer: str, parts: int) -> Tensor:
        model = FeatureKMeans(parts).fit(images, foregrounds, layers[layer])
        found = model.predict(shown, masks, sample_layers[layer])  # (M, H, W)
        return match_parts(found, truth) if truth.shape == found.shape else found

    def row(layer: str, parts: int) -> list[np.ndarray]:
        return [overlay(image, found, scale=2) for image, found in zip(shown, clusters(layer, parts), strict=True)]

    def draw(layer: str, parts: int) -> Figure:
        return parts_grid({"image": list(shown), f"{layer}, K = {parts}": row(layer, parts)}, cell=128)

    def controls() -> Controls:
        from ipywidgets import Dropdown, IntSlider

        return {
            "layer": Dropdown(options=list(layers), value=list(layers)[-1], description="layer"),
            "parts": IntSlider(4, 2, largest, description="K", continuous_update=False),
        }

    last = list(layers)[-1]
    examples = {f"K = {k}": row(last, k) for k in sorted({2, min(4, largest), largest})}
    return Interactive(draw, controls, parts_grid({"image": list(shown), **examples}, cell=128))
