"""The cluster explorer follows its controls and shows several K where there is no front end."""

import pytest
import torch
from partlib_course.widgets_features import cluster_explorer

from partlib.errors import DataError
from partlib.report.tables import stacked
from tests.course.test_widgets import change


@pytest.fixture(scope="module")
def inputs(tiny_birds):
    images, masks = stacked(tiny_birds[0])
    noise = torch.randn(len(images), 6, 8, 8, generator=torch.Generator().manual_seed(0))
    layers = {"colours": [images], "noise": [noise]}
    samples = [tiny_birds[0][i] for i in range(3)]
    return images, masks, layers, samples, {name: [level[:3] for level in levels] for name, levels in layers.items()}


@pytest.mark.parametrize("values", [{"parts": 7}, {"layer": "colours"}], ids=str)
def test_each_control_changes_the_picture(inputs, values):
    assert change(cluster_explorer(*inputs), **values) > 0.3


def test_static_figure_has_rows_for_several_numbers_of_clusters(inputs):
    rows = {text.get_text().replace("\n", " ") for text in cluster_explorer(*inputs, largest=5).static.texts}
    assert rows >= {"image", "K = 2", "K = 4", "K = 5"}


def test_layers_that_the_samples_lack_are_named(inputs):
    images, masks, layers, samples, of_samples = inputs
    with pytest.raises(DataError, match="no features 'noise'"):
        cluster_explorer(images, masks, layers, samples, {"colours": of_samples["colours"]})
    with pytest.raises(DataError, match="no samples"):
        cluster_explorer(images, masks, layers, [], of_samples)
