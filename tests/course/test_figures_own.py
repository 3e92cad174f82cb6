"""Figures of one's own photographs show what they are given."""

import numpy as np
import pytest
import torch
from partlib_course import figures_own

from partlib.data import birds


@pytest.fixture(scope="module")
def samples(own_cache):
    drawn = birds.load("test", None, 32, 3)
    return [drawn[i] for i in range(3)]


def test_the_background_is_faded_and_the_object_is_not(samples):
    figure = figures_own.mask_grid(samples, cell=32)
    above, below = figure.axes[0].images[0].get_array(), figure.axes[3].images[0].get_array()
    inside = samples[0].foreground[0].numpy() > 0.5
    assert np.abs(above[inside].astype(int) - below[inside]).max() <= 1
    assert below[~inside].min() > 200 > above[~inside].mean()


def test_shares_are_sorted_and_dead_parts_are_marked():
    labels = torch.ones(2, 10, 10, dtype=torch.long)
    labels[:, :2] = 3  # a fifth
    figure = figures_own.share_bars({"run": labels}, 3, dead=0.02)
    bars = figure.axes[0].patches
    assert [round(bar.get_height(), 3) for bar in bars] == [0.8, 0.2, 0.0]
    assert bars[0].get_facecolor() == bars[1].get_facecolor() != bars[2].get_facecolor()


def test_photographs_keep_their_proportions():
    photo = np.full((60, 90, 3), 200, np.uint8)
    labels = np.zeros((60, 90), np.uint8)
    labels[20:40, 30:60] = 2
    figure = figures_own.photo_panels(photo, {"divided": labels})
    plain, divided = (ax.images[0].get_array() for ax in figure.axes)
    assert plain.shape[0] / plain.shape[1] == pytest.approx(60 / 90)
    assert not np.array_equal(plain, divided[: plain.shape[0], : plain.shape[1]])
