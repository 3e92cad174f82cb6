"""Color clusters, contrast at boundaries, and the figures and the widget that show them."""

import pytest
import torch
from partlib_course.visual import (
    boundary_contrast,
    color_clusters,
    color_pairs,
    flat_image,
    one_hot,
    redraw_explorer,
    redraw_rows,
)

from partlib.augment import rgb_to_lab
from partlib.losses import consistency_loss
from tests.course.test_widgets import change


def visual_loss(sample, labels) -> float:
    return float(consistency_loss(one_hot(labels[None]), rgb_to_lab(sample.image[None]), sample.foreground[None]))


def test_clusters_of_color_have_a_lower_visual_loss_than_the_annotation(tiny_birds):
    for sample in (tiny_birds[0][i] for i in range(6)):
        found = color_clusters(sample.image, sample.foreground, int(sample.parts.max()))
        assert visual_loss(sample, found) < 0.9 * visual_loss(sample, sample.parts)


def test_clusters_fill_the_object_and_go_from_dark_to_light(tiny_birds):
    sample = tiny_birds[0][0]
    for space in ("lab", "rgb"):
        labels = color_clusters(sample.image, sample.foreground, 3, space)
        assert torch.equal(labels > 0, sample.foreground[0] > 0.5)
        light = [float(rgb_to_lab(sample.image[None])[0, 0][labels == k].mean()) for k in (1, 2, 3)]
        assert light == sorted(light)


def test_boundary_contrast_is_high_on_edges_one_elsewhere_and_blind_to_the_background():
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.02 * torch.rand(2, 3, 32, 32, generator=generator)
    images[:, :, :, 16:] -= 0.4
    on_edge = (torch.arange(32) >= 16).long().expand(2, 32, 32) + 1
    off_edge = (torch.arange(32) >= 8).long().expand(2, 32, 32) + 1
    assert boundary_contrast(images, on_edge) > 10
    assert boundary_contrast(images, off_edge) < 1
    noise = torch.rand(2, 3, 32, 32, generator=generator)
    assert abs(boundary_contrast(noise, off_edge) - 1) < 0.1
    on_object, changed = off_edge * (torch.arange(32) < 24)[:, None], noise.clone()
    changed[:, :, 24:] = 0
    assert boundary_contrast(noise, on_object) == boundary_contrast(changed, on_object)


def test_a_flat_image_has_one_color_per_part(tiny_birds):
    sample = tiny_birds[0][1]
    flat = flat_image(sample, sample.parts)
    for k in sample.parts.unique().tolist():
        assert float(flat[:, sample.parts == k].std(dim=1).max()) < 1e-4


def test_figures_show_what_they_are_given(tiny_birds):
    samples = [tiny_birds[0][i] for i in range(2)]
    assert len(redraw_rows(samples, {"annotated": torch.stack([s.parts for s in samples])}, rest=True).axes) == 6
    (pair,) = color_pairs([(torch.zeros(3), torch.ones(3))]).axes
    assert pair.get_xlabel() == "RGB 1.73\nLab 100"


@pytest.mark.parametrize("values", [{"image": 5}, {"parts": 9}, {"space": "rgb"}], ids=str)
def test_each_control_of_the_redraw_explorer_changes_the_picture(tiny_birds, values):
    assert change(redraw_explorer(tiny_birds[0], range(2)), **values) > 0.3
