"""Clusters of single images, and the figures of the lesson."""

import pytest
import torch
from partlib_course.consistency import descent_curves, image_clusters, loss_against_score
from partlib_course.visual import one_hot

from partlib.losses import consistency_loss


@pytest.fixture
def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """Features (2, 3, 8, 8) that differ between the left and the right half, and a full foreground of 32 x 32."""
    features = 0.01 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0, :, 4:] += 1
    return features, torch.ones(2, 1, 32, 32)


def test_clusters_of_an_image_find_its_kinds_of_features(halves):
    features, foreground = halves
    foreground[:, :, :4] = 0
    labels = image_clusters([features], foreground, 2)
    assert torch.equal(labels > 0, foreground[:, 0] > 0.5)
    for found in labels:
        left, right = found[4:, :12].unique(), found[4:, 20:].unique()
        assert len(left) == len(right) == 1
        assert left != right


def test_clusters_of_single_images_have_a_lower_loss_than_other_divisions(halves):
    features, foreground = halves
    rows = (torch.arange(32) >= 16).long()[:, None].expand(2, 32, 32) + 1
    own = consistency_loss(one_hot(image_clusters([features], foreground, 2)), features, foreground)
    assert own < 0.5 * consistency_loss(one_hot(rows), features, foreground)


def test_figures_show_every_division_and_every_start():
    points = loss_against_score({"a": 0.5, "b": 0.7}, {"a": 10, "b": 30}).axes[0]
    assert [text.get_text() for text in points.texts] == ["a", "b"]
    assert [c.get_offsets().tolist() for c in points.collections] == [[[0.5, 10]], [[0.7, 30]]]
    curves = descent_curves({"x": [1, 0.5], "y": [1, 0.9]}, 0.4, "limit").axes[0]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["x", "y", "limit"]
