"""Figures and explorers of lessons 00 and 01 show what they claim to show."""

from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import style
from partlib_course import overview
from partlib_course.features import PALE
from partlib_course.notebook import figure_bundle

from partlib import warps
from partlib.augment import rgb_to_lab
from partlib.data import collate
from partlib.report.plots import part_color
from partlib.segmenter import PartSegmenter
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


def test_four_losses_draw_a_panel_each(tiny_birds):
    torch.manual_seed(0)
    batch = collate([tiny_birds[0][i] for i in range(4)])
    features = [torch.randn(4, 6, 8, 8), torch.randn(4, 5, 4, 4)]
    figure = overview.four_losses(PartSegmenter(3, weights="random").eval(), batch, features, index=2)
    titles = [panel.get_suptitle() for panel in figure.subfigs]
    assert titles == ["feature consistency", "contrast between images", "visual consistency", "equivariance"]
    shown = {ax.get_title(): ax.images[0].get_array() for ax in figure.axes if ax.images}
    outside = batch.foreground[2, 0].numpy() < 0.5
    pale = round(255 * PALE)
    for name in ("each part's\nmean feature", "one color\nper part", "what is\nleft over"):
        assert np.abs(shown[name][outside].astype(int) - pale).max() <= 1
    assert shown["how alike all parts\nof the batch are"].shape == (12, 12)
    assert len(np.unique(shown["where the\ntwo differ"])) > 1


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


@pytest.mark.parametrize("name", ["browser", "explorer"])
def test_titles_lie_within_the_picture(name, request):
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
