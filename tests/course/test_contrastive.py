"""Who is compared with whom, and the figures and the widget that show it."""

import pytest
import torch
from partlib_course.contrastive import (
    against_guessing,
    attention,
    matrix_figure,
    roles,
    similarities,
    temperature_explorer,
    temperature_figure,
)

from tests.course.test_widgets import change

NAMES = ["head", "wing", "tail"]


@pytest.fixture
def descriptors() -> torch.Tensor:
    """(4 images, 3 parts, 8): each part near a direction of its own."""
    noise = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    return torch.eye(8)[:3] + 0.2 * noise


def test_rows_are_ordered_by_part(descriptors):
    cosines = similarities(descriptors)
    assert cosines.shape == (12, 12)
    expected = torch.cosine_similarity(descriptors[2, 1], descriptors[3, 0], dim=0)
    assert torch.isclose(cosines[1 * 4 + 2, 0 * 4 + 3], expected)
    assert cosines[roles(4, 3) == 1].mean() > cosines[roles(4, 3) == -1].mean() + 0.3


def test_every_descriptor_has_its_positives_and_negatives():
    role = roles(4, 3)
    assert (role == 1).sum(1).tolist() == [3] * 12
    assert (role == -1).sum(1).tolist() == [8] * 12
    assert role.diagonal().tolist() == [0] * 12


def test_a_low_temperature_lets_one_descriptor_rule(descriptors):
    low, high = (attention(descriptors, 1, 2, t) for t in (0.02, 50.0))
    assert float(low.sum()) == pytest.approx(1, abs=1e-5)
    assert low[2 * 4 + 1] == high[2 * 4 + 1] == 0
    assert low.max() > 0.9
    assert high.max() < 0.1


def test_figures_name_parts_and_temperatures(descriptors):
    left, right = matrix_figure(descriptors, NAMES).axes[:2]
    assert [tick.get_text() for tick in left.get_xticklabels()] == NAMES
    assert right.images[0].get_array().shape == (12, 12)
    titles = [ax.get_title() for ax in temperature_figure(descriptors, NAMES, 0, [0.1, 2.0]).axes]
    assert sum("temperature 0.1" in title for title in titles) == sum("temperature 2" in title for title in titles) == 1


def test_the_line_of_guessing_is_in_the_figure():
    ax = against_guessing({"contrast": [5.0, 4.0]}, [0.1, 1.0], 5.5, "share").axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["contrast", "guessing, 5.50"]
    assert ax.get_xscale() == "log"
    assert against_guessing({"contrast": [5.0, 4.0]}, [10, 20], 5.5, "step").axes[0].get_xscale() == "linear"


@pytest.mark.parametrize("values", [{"temperature": 2.0}, {"part": 2}], ids=str)
def test_each_control_of_the_temperature_explorer_changes_the_picture(descriptors, values):
    assert change(temperature_explorer(descriptors, NAMES), **values) > 0.3
