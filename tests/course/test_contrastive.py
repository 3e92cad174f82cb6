"""Who is compared with whom, shuffled numbers, whispering parts, and the figures and the widget that show them."""

import pytest
import torch
from partlib_course.contrastive import (
    attention,
    matrix_figure,
    roles,
    shuffle_parts,
    similarities,
    soft_and_hard_shares,
    temperature_explorer,
    temperature_figure,
    whisper,
)

from partlib.losses import contrastive_loss, part_descriptors
from tests.course.test_widgets import change

NAMES = ["head", "wing", "tail"]


@pytest.fixture
def descriptors() -> torch.Tensor:
    """(4 images, 3 parts, 8): each part near a direction of its own."""
    noise = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    return torch.eye(8)[:3] + 0.2 * noise


@pytest.fixture
def maps() -> torch.Tensor:
    """Hard part maps (4, 3, 12, 12): three stripes."""
    stripe = torch.arange(12) // 4
    return (stripe == torch.arange(3)[:, None]).float()[None, :, None].expand(4, 3, 12, 12).clone()


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


def test_shuffling_numbers_keeps_the_division_and_costs_contrast(maps):
    features = torch.randn(1, 5, 12, 12, generator=torch.Generator().manual_seed(1)).expand(4, 5, 12, 12)
    shuffled = shuffle_parts(maps, torch.Generator().manual_seed(0))
    for before, after in zip(maps, shuffled, strict=True):
        kept = [any(torch.equal(part, other) for other in after) for part in before]
        assert all(kept)
    values = [float(contrastive_loss(part_descriptors(m, features), 0.19)) for m in (maps, shuffled)]
    assert values[1] > values[0] + 0.5


def test_whispering_parts_keep_their_descriptors_and_lose_their_pixels(maps):
    features = torch.randn(4, 5, 12, 12, generator=torch.Generator().manual_seed(1))
    quiet = whisper(maps, loud=1, share=0.01)
    assert torch.allclose(quiet.sum(1), maps.sum(1))
    assert torch.equal(quiet.argmax(1), torch.ones(4, 12, 12, dtype=torch.long))
    before, after = part_descriptors(maps, features), part_descriptors(quiet, features)
    assert torch.allclose(before[:, [0, 2]], after[:, [0, 2]], atol=1e-4)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-2)
    assert torch.allclose(whisper(maps, 0, 1.0), maps)


def test_soft_and_hard_shares_differ_where_a_part_whispers(maps):
    logits = whisper(maps, loud=0, share=0.3).clamp(min=1e-6).log()
    foreground = torch.ones(4, 1, 12, 12)
    foreground[..., 8:] = 0
    soft, hard = soft_and_hard_shares(logits, foreground)
    assert torch.allclose(soft, torch.tensor([0.85, 0.15, 0.0]), atol=1e-3)
    assert hard.tolist() == [1, 0, 0]


def test_figures_name_parts_and_temperatures(descriptors):
    left, right = matrix_figure(descriptors, NAMES).axes[:2]
    assert [tick.get_text() for tick in left.get_xticklabels()] == NAMES
    assert right.images[0].get_array().shape == (12, 12)
    titles = [ax.get_title() for ax in temperature_figure(descriptors, NAMES, 0, [0.1, 2.0]).axes]
    assert sum("temperature 0.1" in title for title in titles) == sum("temperature 2" in title for title in titles) == 1


@pytest.mark.parametrize("values", [{"temperature": 2.0}, {"part": 2}], ids=str)
def test_each_control_of_the_temperature_explorer_changes_the_picture(descriptors, values):
    assert change(temperature_explorer(descriptors, NAMES), **values) > 0.3
