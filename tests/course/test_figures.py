"""Figures show what they claim to show."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from partlib_course import figures
from PIL import Image

from partlib import warps
from partlib.color import rgb_to_lab
from partlib.data import collate
from partlib.report.plots import part_color
from partlib.segmenter import PartSegmenter


@pytest.fixture(scope="module")
def views(tiny_birds):
    torch.manual_seed(0)
    batch = collate([tiny_birds[0][i] for i in range(4)])
    features = [torch.randn(4, 6, 8, 8), torch.randn(4, 5, 4, 4)]
    return figures.loss_views(PartSegmenter(3, pretrained=False).eval(), batch, features, index=2)


def pixels(figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def test_redraw_paints_each_part_in_its_mean_lab_colour_and_leaves_the_rest_pale(tiny_birds):
    image, foreground = tiny_birds[0][0].image[None], tiny_birds[0][0].foreground[None]
    left = (torch.arange(32) < 16).float().expand(1, 1, 32, 32)
    maps = torch.cat([left, 1 - left], dim=1) * foreground
    flat = figures.redraw(image, maps)
    lab = rgb_to_lab(image)
    for k in range(2):
        inside = maps[0, k] > 0
        assert torch.allclose(rgb_to_lab(flat)[0, :, inside].mean(1), lab[0, :, inside].mean(1), atol=0.1)
        assert flat[0, :, inside].std(dim=1).max() < 1e-4
    assert torch.allclose(flat[0, :, foreground[0, 0] == 0], torch.tensor(figures.PALE))


def test_false_colours_are_the_principal_axes_and_mostly_within_range():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([5.0, 3.0, 2.0, 0.1, 0.1]).view(-1, 1, 1)
    features = torch.randn(5, 40, 40, generator=generator) * spread
    mean, axes, (low, high) = figures.false_colors(features, torch.ones(1, 40, 40))
    assert axes[:3].abs().diagonal().min() > 0.98
    colors = ((features.movedim(0, -1) - mean) @ axes - low) / (high - low)
    assert ((colors >= 0) & (colors <= 1)).float().mean() > 0.9


def test_loss_views_cover_the_mask_and_agree_in_shape(views):
    assert torch.allclose(views.maps.sum(1), views.foreground[:, 0], atol=1e-5)
    assert views.features.shape == (11, 32, 32)
    assert views.descriptors.shape == (4, 3, 11)
    assert torch.equal(views.warped_labels > 0, views.labels_of_warped > 0)
    assert (views.warped_labels > 0).any()


def test_loss_views_are_the_same_for_the_same_seed(views, tiny_birds):
    torch.manual_seed(0)
    batch = collate([tiny_birds[0][i] for i in range(4)])
    segmenter, levels = PartSegmenter(3, pretrained=False).eval(), [torch.zeros(4, 6, 8, 8)]
    first, second = (figures.loss_views(segmenter, batch, levels, seed=s) for s in (5, 5))
    assert torch.equal(first.warped_images, second.warped_images)
    assert not torch.equal(first.warped_images, views.warped_images)


def test_four_losses_draws_four_panels_that_name_the_losses(views):
    figure = figures.four_losses(views)
    titles = [panel.get_suptitle() for panel in figure.subfigs]
    assert titles == ["feature consistency", "contrast between images", "visual consistency", "equivariance"]
    assert pixels(figure).std() > 20


def test_keypoints_are_drawn_where_they_are_and_hidden_ones_hollow(tiny_birds):
    sample, scale = tiny_birds[0][0], 8
    row, column = map(int, (sample.parts > 0).nonzero()[0])  # a pixel of some part
    shown, hidden = (float(column), float(row), 1.0), ((column + 16.0) % 32, (row + 16.0) % 32, 0.0)
    drawn = figures.keypoint_image(replace(sample, keypoints=torch.tensor([shown, hidden])), scale)
    plain = np.asarray(figures.enlarge(sample.image, scale))

    def at(picture, x, y):
        return picture[int((y + 0.5) * scale), int((x + 0.5) * scale)].astype(int)

    expected = 255 * np.array(part_color(int(sample.parts[row, column])))
    assert np.abs(at(drawn, *shown[:2]) - expected).max() < 3
    assert np.array_equal(at(drawn, *hidden[:2]), at(plain, *hidden[:2]))
    assert (drawn != plain).any(axis=2).sum() > 300  # disc and ring


def test_annotation_grid_leaves_out_what_a_data_set_does_not_have(tiny_birds):
    samples = [tiny_birds[0][i] for i in range(3)]
    bare = [replace(s, keypoints=None) for s in samples]
    assert len(figures.annotation_grid(samples).axes) == 4 * 3
    assert len(figures.annotation_grid(bare).axes) == 3 * 3


def test_warp_figure_of_the_identity_shows_the_same_picture_twice(tiny_birds):
    figure = figures.warp_figure(tiny_birds[0][0].image, [warps.identity_points()], ["identity"])
    above, below = (ax.images[0].get_array() for ax in figure.axes)
    assert np.abs(above.astype(int) - below.astype(int)).max() <= 1


def test_warp_figure_has_a_column_per_warp(tiny_birds):
    moved = warps.random_points(1, torch.Generator().manual_seed(0))[0]
    figure = figures.warp_figure(tiny_birds[0][0].image, [warps.identity_points(), moved], ["a", "b"])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]


@pytest.mark.parametrize("warps_shown", [1, 3])
def test_titles_of_the_warp_figure_lie_within_the_picture(tiny_birds, warps_shown):
    points = [warps.identity_points()] * warps_shown
    figure = figures.warp_figure(tiny_birds[0][0].image, points, ["where it is read"] * warps_shown)
    figure.canvas.draw()
    titles = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
    assert len(titles) == max(2, warps_shown)
    assert max(title.y1 for title in titles) <= figure.bbox.y1
