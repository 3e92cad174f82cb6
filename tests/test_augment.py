"""Colour jitter: seeded, its own draw for every image, never out of range."""

import pytest
import torch

from partlib.augment import ColorJitter

ALWAYS = ColorJitter(probability=1, grey_probability=0)


@pytest.fixture
def images():
    return torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_seed_decides_the_result(images):
    jitter = ColorJitter()
    assert torch.equal(jitter(images, seeded(1)), jitter(images, seeded(1)))
    assert not torch.equal(jitter(images, seeded(1)), jitter(images, seeded(2)))


def test_a_generator_of_ones_own_leaves_the_global_one_alone(images):
    before = torch.get_rng_state()
    ColorJitter()(images, seeded(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_has_its_own_draw(images):
    same = images[:1].expand(8, -1, -1, -1)
    found = ALWAYS(same, seeded(0))
    differences = [(found[i] - found[j]).abs().max() for i in range(8) for j in range(i)]
    assert min(differences) > 0.01


def test_an_image_does_not_depend_on_its_neighbours(images):
    others = images.flip(0).clone()
    others[3] = images[3]
    torch.testing.assert_close(ALWAYS(images, seeded(0))[3], ALWAYS(others, seeded(0))[3])


def test_range_and_input_are_kept(images):
    copy = images.clone()
    found = ColorJitter(1, 0.9, 0.9, 0.9, 0.5)(images, seeded(0))
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, copy)


def test_probabilities_are_respected():
    images = torch.rand(1, 3, 2, 2, generator=seeded(0)).expand(4000, -1, -1, -1)
    found = ColorJitter()(images, seeded(0))
    is_grey = (found.amax(1) - found.amin(1)).amax((1, 2)) < 1e-6  # (4000,)
    is_same = (found == images).flatten(1).all(1)  # (4000,)
    assert 0.17 < is_grey.float().mean() < 0.23
    assert 0.8 * (0.2 - 0.03) < is_same.float().mean() < 0.8 * (0.2 + 0.03)
    assert torch.equal(ColorJitter(probability=0, grey_probability=0)(images, seeded(0)), images)


def test_brightness_multiplies_by_a_factor_within_its_bounds():
    images = torch.rand(2000, 3, 1, 1, generator=seeded(0)) * 0.6 + 0.1
    found = ColorJitter(1, brightness=0.3, contrast=0, saturation=0, hue=0, grey_probability=0)(images, seeded(0))
    factor = found / images  # (2000, 3, 1, 1)
    assert (factor.amax(1) - factor.amin(1)).max() < 1e-4
    assert 0.7 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3001


def test_contrast_keeps_the_mean_and_saturation_the_luma(images):
    muted = images * 0.4 + 0.3
    contrast = ColorJitter(1, 0, 0.3, 0, 0, 0)(muted, seeded(0))
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close((contrast * weights).sum(1).mean((1, 2)), (muted * weights).sum(1).mean((1, 2)))
    assert (contrast.std((1, 2, 3)) / muted.std((1, 2, 3)) - 1).abs().max() > 0.1
    saturation = ColorJitter(1, 0, 0, 0.3, 0, 0)(muted, seeded(0))
    torch.testing.assert_close((saturation * weights).sum(1), (muted * weights).sum(1))
    assert (saturation - muted).abs().max() > 0.01
