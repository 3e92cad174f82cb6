"""Figures and explorers of lessons 00 and 01 show what they claim to show."""

from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import style
from partlib_course import notebook, overview
from partlib_course.features import PALE
from partlib_course.notebook import figure_bundle

from partlib import warps
from partlib.augment import rgb_to_lab
from partlib.report.plots import part_color
from tests.course.test_widgets import change, decoded


@pytest.fixture(scope="module")
def browser(tiny_birds):
    _, birds = tiny_birds
    truth = torch.stack([sample.parts for sample in birds])
    halves = (torch.arange(32) < 16).long() + 1
    return overview.part_browser(birds, {"halves": halves.expand_as(truth) * (truth > 0), "exact": truth}, range(4))


@pytest.fixture(scope="module")
def explorer(tiny_birds):
    return overview.warp_explorer(tiny_birds[0][0].image)


def test_redraw_paints_each_part_in_its_mean_lab_color_and_leaves_the_rest_pale(tiny_birds):
    image, foreground = tiny_birds[0][0].image[None], tiny_birds[0][0].foreground[None]
    left = (torch.arange(32) < 16).float().expand(1, 1, 32, 32)
    maps = torch.cat([left, 1 - left], dim=1) * foreground
    flat = overview.redraw(image, maps)
    lab = rgb_to_lab(image)
    for k in range(2):
        inside = maps[0, k] > 0
        assert torch.allclose(rgb_to_lab(flat)[0, :, inside].mean(1), lab[0, :, inside].mean(1), atol=0.1)
        assert flat[0, :, inside].std(dim=1).max() < 1e-4
    assert torch.allclose(flat[0, :, foreground[0, 0] == 0], torch.tensor(PALE))


def test_a_part_with_the_same_features_everywhere_is_its_own_mean(tiny_birds):
    foreground = torch.stack([tiny_birds[0][i].foreground for i in range(2)])
    left = (torch.arange(32) < 16).float().expand(2, 1, 32, 32)
    maps = torch.cat([left, 1 - left], dim=1) * foreground
    kinds = torch.tensor([[1.0, 0, 2], [0, 3.0, 1]])  # of the left and of the right half
    features = kinds[(torch.arange(32) >= 16).long().expand(2, 32, 32)].movedim(-1, 1)  # (2, 3, 32, 32)
    features = features + 1e-3 * torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    of_pixels, of_parts = overview.feature_pictures(maps, [features], foreground).values()
    assert of_pixels.shape == of_parts.shape == (2, 3, 32, 32)
    outside = (foreground < 0.5).expand(-1, 3, -1, -1)
    assert torch.allclose(of_parts[outside], torch.tensor(PALE))
    inside = foreground[:, 0] > 0.5
    strongest = of_parts.flatten(2).std(2).sum(0).argmax()
    assert (of_pixels - of_parts)[:, strongest][inside].abs().mean() < 0.1
    assert of_parts[:, strongest, :, :16][inside[..., :16]].std() < 1e-3


def test_the_similarity_figure_frames_every_part_in_its_color():
    cosines = {"a": torch.eye(6), "b": torch.rand(6, 6)}
    figure = overview.similarity_figure(cosines, ["head", "wing", "tail"], [1, 5, 6])
    for ax, matrix in zip(figure.axes, cosines.values(), strict=False):
        assert np.array_equal(ax.images[0].get_array(), matrix.numpy())
        frames = [(patch.get_xy(), patch.get_edgecolor()[:3]) for patch in ax.patches]
        assert frames == [((2 * k - 0.5, 2 * k - 0.5), part_color(n)) for k, n in enumerate((1, 5, 6))]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["head", "wing", "tail"]


def test_keypoints_are_drawn_where_they_are_and_hidden_ones_hollow(tiny_birds):
    sample, scale = tiny_birds[0][0], 8
    row, column = map(int, (sample.parts > 0).nonzero()[0])  # a pixel of some part
    shown, hidden = (float(column), float(row), 1.0), ((column + 16.0) % 32, (row + 16.0) % 32, 0.0)
    drawn = overview.keypoint_image(replace(sample, keypoints=torch.tensor([shown, hidden])), scale)
    plain = overview.keypoint_image(replace(sample, keypoints=torch.zeros(0, 3)), scale)

    def at(picture, x, y):
        return picture[int((y + 0.5) * scale), int((x + 0.5) * scale)].astype(int)

    expected = 255 * np.array(part_color(int(sample.parts[row, column])))
    assert np.abs(at(drawn, *shown[:2]) - expected).max() < 3
    assert np.array_equal(at(drawn, *hidden[:2]), at(plain, *hidden[:2]))
    assert (drawn != plain).any(axis=2).sum() > 300  # disc and ring


def test_annotation_grid_leaves_out_what_a_data_set_does_not_have(tiny_birds):
    samples = [tiny_birds[0][i] for i in range(3)]
    bare = [replace(s, keypoints=None) for s in samples]
    assert len(overview.annotation_grid(samples).axes) == 4 * 3
    assert len(overview.annotation_grid(bare).axes) == 3 * 3


@pytest.mark.parametrize("number", [1, 3])
def test_warp_figure_of_the_identity_shows_the_same_picture_twice(tiny_birds, number):
    points = [warps.identity_points()] * number
    figure = overview.warp_figure(tiny_birds[0][0].image, points, ["title"] * number)
    above, below = (figure.axes[i].images[0].get_array() for i in (0, number))
    assert np.abs(above.astype(int) - below.astype(int)).max() <= 1
    assert [ax.get_title() for ax in figure.axes[:number]] == ["title"] * number


def test_warp_figure_numbers_all_control_points_within_the_picture(tiny_birds):
    points = 1.4 * warps.identity_points()
    figure = overview.warp_figure(tiny_birds[0][0].image, [points], ["title"])
    for ax in figure.axes:
        assert sorted(int(text.get_text()) for text in ax.texts) == list(range(25))
        low, high = ax.get_xlim()
        assert all(low < coordinate < high for text in ax.texts for coordinate in text.get_position())
    first = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert np.allclose(first["7"], points[7])


@pytest.mark.parametrize("name", ["browser", "explorer"])
def test_titles_lie_within_the_picture(name, request, monkeypatch):
    monkeypatch.setattr(notebook, "PNG_BYTES", 10**9)  # as PNG: a JPEG shades what is near letters
    explorer = request.getfixturevalue(name)
    with style.context("partlib_course.course"):
        figure = explorer.draw(**{name: control.value for name, control in explorer.controls.items()})
        ((_, encoded),) = figure_bundle(figure).items()
    assert decoded(b64decode(encoded))[:2].min() > 240


@pytest.mark.parametrize("values", [{"image": 3}, {"method": "halves"}, {"opacity": 0.1}], ids=str)
def test_each_control_of_the_part_browser_changes_the_picture(browser, values):
    browser.controls["method"].value = "exact"
    assert change(browser, **values) > 0.5


def test_part_browser_reaches_every_image_and_has_a_row_per_method(browser):
    assert (browser.controls["image"].min, browser.controls["image"].max) == (0, 7)
    assert browser.controls["method"].options == ("halves", "exact")
    assert {"halves", "exact"} <= {text.get_text() for text in browser.static.texts}


def test_part_browser_paints_the_annotation_and_the_exact_method_alike(browser):
    _, annotated, exact = (ax.images[0].get_array() for ax in browser.draw(2, "exact", 0.6).axes)
    assert np.array_equal(annotated, exact)
    _, annotated, halves = (ax.images[0].get_array() for ax in browser.draw(2, "halves", 0.6).axes)
    assert not np.array_equal(annotated, halves)


@pytest.mark.parametrize("values", [{"dx": -0.4}, {"dy": 0.4}, {"scale": 0.6}, {"angle": 60.0}, {"point": 0}], ids=str)
def test_each_control_of_the_warp_explorer_changes_the_picture(explorer, values):
    assert change(explorer, **values) > 0.5
    assert min(decoded(explorer.picture.value).shape[:2]) > 200
