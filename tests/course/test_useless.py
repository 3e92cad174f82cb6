"""Clusters of single images, and the heat map of lesson 00."""

import pandas as pd
import torch
from partlib_course.useless import clusters_of_each_image, loss_heat_map


def test_clusters_follow_what_differs_in_each_image():
    maps = torch.zeros(2, 1, 16, 16)
    maps[0, :, :, 8:] = 5  # left and right
    maps[1, :, 8:] = -3  # above and below
    labels = clusters_of_each_image([maps], torch.ones(2, 1, 16, 16), num_parts=2)
    assert labels.shape == (2, 16, 16)
    for found, values in zip(labels, maps[:, 0], strict=True):
        for value in values.unique():
            assert len(found[values == value].unique()) == 1
        assert len(found.unique()) == 2


def test_clusters_see_the_object_alone_and_several_layers_at_once():
    fine, coarse = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 4, 4)
    foreground = torch.zeros(1, 1, 16, 16)
    foreground[..., :12] = 1
    fine[..., 12:] = 100  # off the object: no cluster is spent on it
    coarse[..., :2, :] = 1
    labels = clusters_of_each_image([fine, coarse], foreground, num_parts=2)[0]
    assert labels[0, 0] != labels[15, 0]


def test_the_heat_map_shows_every_number_and_scales_each_column():
    table = pd.DataFrame({"feature": [1.0, 2.0, 3.0], "visual": [0.1, 0.3, 0.2]}, index=["a", "b", "trained"])
    (axes,) = loss_heat_map(table).axes
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.10", "2.00", "0.30", "3.00", "0.20"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "trained"]
    colors = axes.collections[0].get_array().reshape(3, 2)
    assert colors[0].tolist() == [0, 0]
    assert colors[2, 0] == colors[1, 1] == 1
