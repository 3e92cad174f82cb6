"""Figures of the notebook on features."""

import numpy as np
import pytest
import torch
from partlib_course.figures import PALE
from partlib_course.figures_features import bars, blocks, distance_curves, feature_colors, spotlight

from partlib.errors import DataError


def two_kinds(n: int = 3, size: int = 8) -> torch.Tensor:
    """Maps (n, 5, size, size): one vector on the left half, another on the right, and a little noise."""
    kinds = torch.tensor([[1.0, 0, 0, 2, 0], [0, 1.0, 3, 0, 0]])
    right = (torch.arange(size) >= size // 2).long().expand(n, size, size)
    noise = torch.randn(n, 5, size, size, generator=torch.Generator().manual_seed(0))
    return kinds[right].movedim(-1, 1) + 0.01 * noise  # (n, size, size, 5) -> (n, 5, size, size)


def test_equal_features_have_equal_colours_in_all_images():
    colors = feature_colors(two_kinds(), torch.ones(3, 1, 32, 32))
    assert colors.shape == (3, 3, 8, 8)
    assert 0 <= float(colors.min()) <= float(colors.max()) <= 1
    left, right = colors[..., :4], colors[..., 4:]
    strongest = (left.mean((0, 2, 3)) - right.mean((0, 2, 3))).abs().argmax()
    assert float((left[:, strongest].mean() - right[:, strongest].mean()).abs()) > 0.5
    assert float(left[:, strongest].std()) < 0.1


def test_as_many_foregrounds_as_maps_are_expected():
    with pytest.raises(DataError, match="features of 3 images but 2 foregrounds"):
        feature_colors(two_kinds(), torch.ones(2, 1, 32, 32))


def test_blocks_repeat_cells():
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    assert blocks(maps, 4)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_a_spotlight_shows_the_image_where_the_weight_is_and_grey_elsewhere():
    images, weights = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 4)
    weights[:, :, 2:] = 5
    lit = spotlight(images, weights, torch.ones(1, 1, 16, 16))
    assert float(lit[..., 14:].max()) < 1e-5
    assert torch.allclose(lit[..., :3], torch.tensor(PALE))
    dark = spotlight(images, weights, torch.zeros(1, 1, 16, 16))
    assert torch.allclose(dark, torch.tensor(PALE))


def test_curves_and_bars_show_what_they_are_given():
    figure = distance_curves({"a": [1, 0.5, 0], "b": [0, 1, 2]}, [-8, 0, 8], "out", "in", "change")
    lines = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines]
    assert lines[:2] == [[1, 0.5, 0], [0, 1, 2]]
    assert {"out", "in"} <= {text.get_text() for text in figure.axes[0].texts}
    heights = [bar.get_height() for bar in bars({"x": {"a": 1, "b": 2}, "y": {"a": 3}}, "score").axes[0].patches]
    assert heights[:3] == [1, 3, 2]
    assert np.isnan(heights[3])
