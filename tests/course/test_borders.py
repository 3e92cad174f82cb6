"""Borders between parts: where they are, how far from the annotated ones, and what is near them."""

import math

import pytest
import torch
from partlib_course.borders import border_distance, border_pixels, border_scores

from partlib.errors import ConfigError, DataError


def halves(column: int, size: int = 20) -> torch.Tensor:
    """One image: part 1 left of ``column``, part 2 right of it, background in the upper four rows."""
    labels = (torch.arange(size) >= column).long().expand(size, size) + 1
    labels = labels.clone()
    labels[:4] = 0
    return labels[None]  # (1, size, size)


def test_a_straight_border_is_a_pixel_wide_on_each_side():
    border = border_pixels(halves(10))[0]
    assert border[4:, 9:11].all()
    assert border.sum() == 2 * 16


def test_the_outline_of_the_object_is_no_border():
    assert not border_pixels((halves(10) > 0).long()).any()


def test_distance_counts_pixels_from_the_border():
    away = border_distance(halves(10))[0]
    assert away[10].tolist() == [9 - x if x < 10 else x - 10 for x in range(20)]
    assert border_distance(torch.ones(1, 5, 5)).isinf().all()


def test_the_annotation_agrees_with_itself_whatever_its_numbers():
    truth = halves(8)
    found = truth.where(truth == 0, 3 - truth)
    scores = border_scores(found, truth)
    assert scores["near_nmi"] == scores["far_nmi"] == pytest.approx(100)
    assert scores["precision"] == scores["recall"] == 100
    assert scores["distance"] == 0


@pytest.mark.parametrize("shift", [1, 3, 5])
def test_a_moved_border_is_that_far_away_and_costs_near_the_border_only(shift):
    scores = border_scores(halves(8 + shift), halves(8), reach=shift, tolerance=2)
    assert scores["distance"] == pytest.approx((2 * shift - 1) / 2)  # its two columns are shift - 1 and shift away
    assert scores["near_nmi"] < 90
    assert scores["far_nmi"] == pytest.approx(100)
    assert (scores["precision"] == 100) == (shift < 3)


def test_borders_at_every_pixel_reach_chance():
    truth = halves(8)
    noise = torch.randint(1, 50, truth.shape, generator=torch.Generator().manual_seed(0)) * (truth > 0)
    scores = border_scores(noise, truth)
    assert scores["precision"] == pytest.approx(scores["chance"], abs=1)
    assert scores["recall"] == 100


def test_without_borders_nothing_is_claimed():
    one = (halves(8) > 0).long()
    scores = border_scores(one, halves(8))
    assert math.isnan(scores["precision"])
    assert math.isnan(scores["distance"])
    assert scores["recall"] == 0
    assert math.isnan(border_scores(halves(8), one)["near_nmi"])


def test_images_are_pooled():
    both = border_scores(torch.cat([halves(8), halves(14)]), torch.cat([halves(8)] * 2))
    assert both["precision"] == pytest.approx(50)


def test_wrong_shapes_and_distances_are_refused():
    with pytest.raises(DataError, match="expected \\(N, H, W\\)"):
        border_scores(halves(8)[0], halves(8)[0])
    with pytest.raises(ConfigError, match="at least 0"):
        border_scores(halves(8), halves(8), reach=-1)
