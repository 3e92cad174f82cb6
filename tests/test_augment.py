"""Color: a seeded jitter with its own draw for every image; Lab as scikit-image has it, hues as torchvision does."""

import pytest
import torch
from skimage.color import rgb2lab
from torchvision.transforms.functional import adjust_hue

from partlib.augment import ColorJitter, gray, rgb_to_lab, shift_hue

ALWAYS = ColorJitter(probability=1, gray_probability=0)
STILL = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(8, 3, 12, 12, generator=seeded(0))


@pytest.fixture
def corners():
    """Noise, and rows of grays, primaries, near-blacks and equal channels, where formulas have their corners."""
    images = torch.rand(4, 3, 9, 7, generator=seeded(0))
    images[1] *= 0.05
    images[2, :, 0] = torch.linspace(0, 1, 7)
    images[2, :, 1:3] = torch.eye(3).repeat(1, 3)[:, None, :7]
    images[2, 1, 4] = images[2, 0, 4]
    images[3, :, 0], images[3, :, 1] = 0, 1
    return images


# --- jitter ----------------------------------------------------------------------------------------------------------


def test_a_seed_decides_the_result_and_the_global_generator_is_left_alone(images):
    jitter, before = ColorJitter(), torch.get_rng_state()
    assert torch.equal(jitter(images, seeded(1)), jitter(images, seeded(1)))
    assert torch.equal(jitter(images, seeded(1)), jitter(images, draws=jitter.draw(8, seeded(1))))
    assert not torch.equal(jitter(images, seeded(1)), jitter(images, seeded(2)))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_has_its_own_draw_and_does_not_depend_on_its_neighbors(images):
    found = ALWAYS(images[:1].expand(8, -1, -1, -1), seeded(0))
    assert min((found[i] - found[j]).abs().max() for i in range(8) for j in range(i)) > 0.01
    others = images.flip(0).clone()
    others[3] = images[3]
    torch.testing.assert_close(ALWAYS(images, seeded(0))[3], ALWAYS(others, seeded(0))[3])


def test_range_and_input_are_kept(images):
    copy = images.clone()
    found = ColorJitter(1, 0.9, 0.9, 0.9, 0.5)(images, seeded(0))
    assert found.shape == images.shape
    assert 0 <= found.min() < found.max() <= 1
    assert torch.equal(images, copy)


def test_probabilities_are_respected():
    images = torch.rand(1, 3, 2, 2, generator=seeded(0)).expand(4000, -1, -1, -1)
    found = ColorJitter()(images, seeded(0))
    is_gray = (found.amax(1) - found.amin(1)).amax((1, 2)) < 1e-6  # (4000,)
    is_same = (found == images).flatten(1).all(1)  # (4000,)
    assert 0.17 < is_gray.float().mean() < 0.23
    assert 0.8 * (0.2 - 0.03) < is_same.float().mean() < 0.8 * (0.2 + 0.03)
    assert torch.equal(ColorJitter(probability=0, gray_probability=0)(images, seeded(0)), images)


def test_brightness_multiplies_by_a_factor_within_its_bounds():
    images = torch.rand(2000, 3, 1, 1, generator=seeded(0)) * 0.6 + 0.1
    found = ColorJitter(1, **{**STILL, "brightness": 0.3}, gray_probability=0)(images, seeded(0))
    factor = found / images  # (2000, 3, 1, 1)
    assert (factor.amax(1) - factor.amin(1)).max() < 1e-4
    assert 0.7 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3001


def test_contrast_keeps_the_mean_and_saturation_the_luma(images):
    muted = images * 0.4 + 0.3
    contrast = ColorJitter(1, **{**STILL, "contrast": 0.3}, gray_probability=0)(muted, seeded(0))
    torch.testing.assert_close(gray(contrast).mean((1, 2, 3)), gray(muted).mean((1, 2, 3)))
    assert (contrast.std((1, 2, 3)) / muted.std((1, 2, 3)) - 1).abs().max() > 0.1
    saturation = ColorJitter(1, **{**STILL, "saturation": 0.3}, gray_probability=0)(muted, seeded(0))
    torch.testing.assert_close(gray(saturation), gray(muted))
    assert (saturation - muted).abs().max() > 0.01


# --- color spaces ----------------------------------------------------------------------------------------------------


def test_lab_equals_scikit_image_and_has_finite_gradients_everywhere(corners):
    expected = torch.from_numpy(rgb2lab(corners.double().permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    found = rgb_to_lab(corners.requires_grad_())
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-3
    assert expected[:, 0].max() > 99
    assert expected[:, 1:].abs().max() > 80
    found.sum().backward()
    assert corners.grad.isfinite().all()


def test_every_image_is_turned_by_its_own_angle_as_torchvision_does(corners):
    for turns in ([-0.5, 0.1, 0.25, 0.0], [-0.3, 0.07, 0.33, 0.5], [0.5, -0.2, 0.4, 0.33]):
        expected = torch.stack([adjust_hue(image, turn) for image, turn in zip(corners, turns, strict=True)])
        found = shift_hue(corners, torch.tensor(turns))
        assert (found - expected).abs().max() < 2e-4
        torch.testing.assert_close(found[2, :, 0], corners[2, :, 0])  # grays stay
        assert 0 <= found.min() < found.max() <= 1


def test_gray_weighs_green_most_and_white_is_one():
    colors = torch.cat([torch.eye(3), torch.ones(1, 3)]).view(4, 3, 1, 1)
    assert gray(colors).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114, 1])
