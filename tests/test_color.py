"""Colour conversions: Lab as scikit-image computes it, hue shifts as torchvision does."""

import pytest
import torch
from skimage.color import rgb2lab
from torchvision.transforms.functional import adjust_hue

from partlib.augment import gray, rgb_to_lab, shift_hue


@pytest.fixture
def images():
    """Noise, and rows of greys, primaries, near-blacks and equal channels, where formulae have their corners."""
    images = torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    images[1] *= 0.05
    images[2, :, 0] = torch.linspace(0, 1, 7)
    images[2, :, 1:3] = torch.eye(3).repeat(1, 3)[:, None, :7]
    images[2, 1, 4] = images[2, 0, 4]
    images[3, :, 0], images[3, :, 1] = 0, 1
    return images


def test_lab_equals_scikit_image(images):
    expected = torch.from_numpy(rgb2lab(images.double().permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    found = rgb_to_lab(images)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-3
    assert expected[:, 0].max() > 99
    assert expected[:, 1:].abs().max() > 80


def test_lab_has_finite_gradients_everywhere(images):
    images.requires_grad_()
    rgb_to_lab(images).sum().backward()
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("turns", [-0.5, -0.2, 0.0, 0.07, 0.33, 0.5])
def test_hue_shift_equals_torchvision(turns, images):
    found = shift_hue(images, torch.full((4,), turns))
    assert (found - adjust_hue(images, turns)).abs().max() < 2e-4


def test_every_image_is_turned_by_its_own_angle(images):
    turns = torch.tensor([-0.3, 0.1, 0.25, 0.0])
    expected = torch.stack([adjust_hue(image, turn) for image, turn in zip(images, turns.tolist(), strict=True)])
    assert (shift_hue(images, turns) - expected).abs().max() < 2e-4


def test_hue_shift_keeps_greys_and_the_range(images):
    found = shift_hue(images, torch.full((4,), 0.4))
    torch.testing.assert_close(found[2, :, 0], images[2, :, 0])
    assert found.min() >= 0
    assert found.max() <= 1


def test_grey_weighs_green_most_and_white_is_one():
    colours = torch.cat([torch.eye(3), torch.ones(1, 3)]).view(4, 3, 1, 1)
    red, green, blue, white = gray(colours).flatten().tolist()
    assert green > red > blue > 0
    assert white == pytest.approx(1)
