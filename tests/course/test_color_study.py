"""Colour clusters, contrast at borders, and the figures and the widget that show them."""

import numpy as np
import pytest
import torch
from partlib_course import figures_color
from partlib_course.color_study import border_contrast, color_clusters, color_values, one_hot
from partlib_course.widgets_color import redraw_explorer

from partlib.errors import ConfigError, DataError
from partlib.losses import consistency_loss
from tests.course.test_widgets import change


def visual_loss(sample, labels) -> float:
    return float(
        consistency_loss(one_hot(labels[None]), color_values(sample.image[None], "lab"), sample.foreground[None])
    )


def test_clusters_of_colour_have_a_lower_visual_loss_than_the_annotation(tiny_birds):
    for sample in (tiny_birds[0][i] for i in range(6)):
        found = color_clusters(sample.image, sample.foreground, int(sample.parts.max()))
        assert visual_loss(sample, found) < 0.9 * visual_loss(sample, sample.parts)


def test_clusters_fill_the_object_and_go_from_dark_to_light(tiny_birds):
    sample = tiny_birds[0][0]
    for space in ("lab", "rgb"):
        labels = color_clusters(sample.image, sample.foreground, 3, space)
        assert torch.equal(labels > 0, sample.foreground[0] > 0.5)
        light = [float(color_values(sample.image[None], "lab")[0, 0][labels == k].mean()) for k in (1, 2, 3)]
        assert light == sorted(light)


def test_more_parts_than_pixels_are_refused(tiny_birds):
    sample = tiny_birds[0][0]
    with pytest.raises(DataError, match="the object has"):
        color_clusters(sample.image, sample.foreground, 5000)
    with pytest.raises(ConfigError, match="space is 'hsv'"):
        color_clusters(sample.image, sample.foreground, 2, "hsv")


def test_border_contrast_is_high_on_edges_and_one_elsewhere():
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.02 * torch.rand(2, 3, 32, 32, generator=generator)
    images[:, :, :, 16:] -= 0.4
    on_edge = (torch.arange(32) >= 16).long().expand(2, 32, 32) + 1
    off_edge = (torch.arange(32) >= 8).long().expand(2, 32, 32) + 1
    assert border_contrast(images, on_edge) > 10
    assert border_contrast(images, off_edge) < 1
    noise = torch.rand(2, 3, 32, 32, generator=generator)
    assert abs(border_contrast(noise, off_edge) - 1) < 0.1


def test_background_pixels_do_not_count():
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(16) >= 8).long().expand(1, 16, 16) + 1
    labels = labels * (torch.arange(16) < 12)[None, :, None]
    changed = images.clone()
    changed[:, :, 12:] = 0
    assert border_contrast(images, labels) == border_contrast(changed, labels)


def test_a_flat_image_has_one_colour_per_part(tiny_birds):
    sample = tiny_birds[0][1]
    flat = figures_color.flat_image(sample, sample.parts)
    for k in sample.parts.unique().tolist():
        assert float(flat[:, sample.parts == k].std(dim=1).max()) < 1e-4
    assert float(figures_color.left_over(sample, sample.parts).min()) < 0.9


def test_pairs_name_both_distances():
    black, white = torch.zeros(3), torch.ones(3)
    texts = [t.get_text() for ax in figures_color.color_pairs([(black, white)]).axes for t in ax.texts]
    assert texts == ["RGB 1.73\nLab 100"]


def test_rows_and_curves_show_what_they_are_given(tiny_birds):
    samples = [tiny_birds[0][i] for i in range(2)]
    figure = figures_color.redraw_rows(samples, {"annotated": torch.stack([s.parts for s in samples])}, rest=True)
    assert len(figure.axes) == 6
    curves = figures_color.shift_curves([0, 1], {"a": [0, 0.5], "b": [0, 0.1]})
    assert [np.asarray(line.get_ydata()).tolist() for line in curves.axes[0].lines] == [[0, 0.5], [0, 0.1]]


@pytest.mark.parametrize("values", [{"image": 5}, {"parts": 9}, {"space": "rgb"}], ids=str)
def test_each_control_of_the_redraw_explorer_changes_the_picture(tiny_birds, values):
    assert change(redraw_explorer(tiny_birds[0], range(2)), **values) > 0.3


def test_an_empty_data_set_is_refused(tiny_birds):
    with pytest.raises(DataError, match="empty"):
        redraw_explorer(tiny_birds[0].subset([]))
