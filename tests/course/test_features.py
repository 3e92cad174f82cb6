"""Figures and the explorers of lesson 03."""

import numpy as np
import pytest
import torch
from partlib_course.features import (
    PALE,
    bars,
    blocks,
    cluster_explorer,
    distance_curves,
    false_colors,
    feature_colors,
    patch_explorer,
    spotlight,
)

from partlib.data.base import stacked
from tests.course.test_widgets import change


def test_false_colors_are_the_principal_axes_and_mostly_within_range():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([5.0, 3.0, 2.0, 0.1, 0.1]).view(-1, 1, 1)
    features = torch.randn(5, 40, 40, generator=generator) * spread
    mean, axes, (low, high) = false_colors(features, torch.ones(1, 40, 40))
    assert axes[:3].abs().diagonal().min() > 0.98
    colors = ((features.movedim(0, -1) - mean) @ axes - low) / (high - low)
    assert ((colors >= 0) & (colors <= 1)).float().mean() > 0.9


def test_equal_features_have_equal_colors_in_all_images():
    kinds = torch.tensor([[1.0, 0, 0, 2, 0], [0, 1.0, 3, 0, 0]])
    halves = (torch.arange(8) >= 4).long().expand(3, 8, 8)
    noise = 0.01 * torch.randn(3, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    colors = feature_colors(kinds[halves].movedim(-1, 1) + noise, torch.ones(3, 1, 32, 32))
    assert colors.shape == (3, 3, 8, 8)
    assert 0 <= float(colors.min()) <= float(colors.max()) <= 1
    left, right = colors[..., :4], colors[..., 4:]
    strongest = (left.mean((0, 2, 3)) - right.mean((0, 2, 3))).abs().argmax()
    assert float((left[:, strongest].mean() - right[:, strongest].mean()).abs()) > 0.5
    assert float(left[:, strongest].std()) < 0.1


def test_cells_without_the_object_are_pale():
    maps, foreground = torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 16, 16)
    foreground[..., :8, :] = 1
    colors = feature_colors(maps, foreground)
    assert torch.allclose(colors[:, :, 2:], torch.tensor(PALE))
    assert not torch.allclose(colors[:, :, :2], torch.tensor(PALE), atol=0.05)


def test_blocks_repeat_cells():
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    assert blocks(maps, 4)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_a_spotlight_shows_the_image_where_the_weight_is_and_gray_elsewhere():
    images, weights = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 4)
    weights[:, :, 2:] = 5
    lit = spotlight(images, weights, torch.ones(1, 1, 16, 16))
    assert float(lit[..., 14:].max()) < 1e-5
    assert torch.allclose(lit[..., :3], torch.tensor(PALE))
    assert torch.allclose(spotlight(images, weights, torch.zeros(1, 1, 16, 16)), torch.tensor(PALE))


def test_curves_and_bars_show_what_they_are_given():
    figure = distance_curves({"a": [1, 0.5, 0], "b": [0, 1, 2]}, [-8, 0, 8], "out", "in", "change")
    lines = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines]
    assert lines[:2] == [[1, 0.5, 0], [0, 1, 2]]
    assert {"out", "in"} <= {text.get_text() for text in figure.axes[0].texts}
    (axes,) = bars({"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 4}}, "", 50, "limit").axes
    assert [bar.get_height() for bar in axes.patches] == [1, 3, 2, 4]
    assert axes.lines[0].get_ydata()[0] == 50
    assert {text.get_text() for text in axes.texts} == {"1", "2", "3", "4"}


@pytest.mark.parametrize("values", [{"parts": 7}, {"layer": "colors"}], ids=str)
def test_the_cluster_explorer_follows_its_controls_and_shows_several_k(tiny_birds, values):
    images, masks = stacked(tiny_birds[0])
    noise = torch.randn(len(images), 6, 8, 8, generator=torch.Generator().manual_seed(0))
    layers = {"colors": [images], "noise": [noise]}
    explorer = cluster_explorer(images, masks, layers, tiny_birds[0], layers, [2, 0, 5], largest=7)
    assert change(explorer, **values) > 0.3
    rows = {text.get_text().replace("\n", " ") for text in explorer.static.texts}
    assert rows >= {"image", "K = 2", "K = 4", "K = 7"}


@pytest.fixture(scope="module")
def patches(tiny_birds):
    images, masks = (z[:2] for z in stacked(tiny_birds[0]))
    maps = (
        torch.eye(4).view(1, 4, 2, 2).repeat(2, 1, 1, 1)
    )  # every cell of an image is like one of the other image only
    return patch_explorer(images, masks, maps, {"first": (0, 0, 1), "second": (1, 1, 0)})


def test_the_patch_figure_marks_the_cell_and_lights_those_that_are_like_it(patches):
    (marked, here, there), lower = patches.static.axes[:3], patches.static.axes[3:6]
    assert [ax.get_title() for ax in (marked, lower[0])] == ["first", "second"]
    assert here.images[0].get_array().tolist() == there.images[0].get_array().tolist() == [[0, 1], [0, 0]]
    assert [patch.get_xy() for patch in (*marked.patches, *here.patches)] == [(1, 0), (1, 0)]
    assert not there.patches
    assert lower[2].images[0].get_array().tolist() == [[0, 0], [1, 0]]
    assert [len(ax.patches) for ax in lower] == [1, 0, 1]


@pytest.mark.parametrize("values", [{"row": 1}, {"column": 0}, {"image": 1}], ids=str)
def test_the_patch_explorer_follows_its_controls(patches, values):
    assert (patches.controls["row"].max, patches.controls["column"].max, patches.controls["image"].max) == (1, 1, 1)
    assert change(patches, **values) > 0.3
