"""The losses against the plain formulas, and what must hold of them whatever the input."""

import pytest
import torch
from torch import Tensor

from partlib.losses import consistency_loss, contrastive_loss, draw_positives, equivariance_loss, part_descriptors
from partlib.moments import downsample_adjoint, first_moments, interpolation_matrix, upsampled_square_norm
from tests import plain

SIZES = [
    ((12, 20), (5, 7)),
    ((16, 9), (4, 9)),
    ((7, 7), (1, 3)),
    ((10, 6), (10, 6)),
    ((5, 8), (9, 11)),
    ((1, 6), (1, 2)),
]


def softmax_maps(shape: tuple[int, ...], seed: int, soft: bool = False, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    """Random part maps (B, K, H, W) and the foreground (B, 1, H, W) they are cut out with."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, height, width = shape
    foreground = torch.rand(batch, 1, height, width, generator=generator, dtype=dtype)
    foreground = foreground if soft else (foreground > 0.3).to(dtype)
    return torch.randn(shape, generator=generator, dtype=dtype).softmax(dim=1) * foreground, foreground


def random_features(*shape: int, seed: int = 5, dtype=torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 3 + 7


def value_and_gradient(loss, maps: Tensor) -> tuple[Tensor, Tensor]:
    maps = maps.detach().requires_grad_()
    value = loss(maps)
    return value.detach(), torch.autograd.grad(value.sum(), maps)[0]


def assert_close(ours, expected, tolerance=1e-11):
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


# --- moments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("high", "low"), SIZES)
def test_interpolation_matrices_upsample_like_torch(high, low):
    z = random_features(2, 3, *low)
    rows, columns = (interpolation_matrix(h, w, z.device, z.dtype) for h, w in zip(high, low, strict=True))
    assert_close(rows @ z @ columns.T, plain.upsample(z, high))


@pytest.mark.parametrize(("high", "low"), SIZES)
def test_adjoint_and_upsampling_give_the_same_scalar_product(high, low):
    z, maps = random_features(2, 1, *low), random_features(2, 1, *high, seed=6)
    assert_close((downsample_adjoint(maps, low) * z).sum(), (maps * plain.upsample(z, high)).sum())
    assert_close(downsample_adjoint(maps, low).sum(), maps.sum())


@pytest.mark.parametrize(("high", "low"), SIZES)
def test_first_moments_are_those_of_the_upsampled_features(high, low):
    z, maps = random_features(2, 3, *low), random_features(2, 4, *high, seed=6)
    expected = torch.einsum("bkhw,bchw->bkc", maps, plain.upsample(z, high))
    assert_close(first_moments(maps, z), expected)


@pytest.mark.parametrize(("high", "low"), SIZES)
@pytest.mark.parametrize("channels", [3, 130])
def test_square_norm_is_that_of_the_upsampled_features(high, low, channels):
    z = random_features(2, channels, *low)
    assert_close(upsampled_square_norm(z, high), plain.upsample(z, high).square().sum(dim=1))


# --- consistency -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1e-5, 0.3])
@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
@pytest.mark.parametrize(("high", "low"), SIZES)
def test_consistency_is_the_plain_formula_on_upsampled_targets(high, low, soft, eps):
    maps, foreground = softmax_maps((3, 4, *high), seed=1, soft=soft)
    z = random_features(3, 6, *low)
    upsampled = plain.upsample(z, high)
    ours = value_and_gradient(lambda m: consistency_loss(m, z, foreground, reduction="none", eps=eps), maps)
    expected = value_and_gradient(lambda m: plain.consistency_loss(m, upsampled, foreground, eps), maps)
    assert_close(ours, expected)


@pytest.mark.parametrize("soft", [False, True], ids=["binary", "soft"])
def test_layers_of_different_sizes_count_as_stacked_channels(soft):
    maps, foreground = softmax_maps((2, 3, 14, 10), seed=2, soft=soft)
    layers = [random_features(2, 5, 14, 10), random_features(2, 4, 7, 5), random_features(2, 8, 3, 2)]
    ours = value_and_gradient(lambda m: consistency_loss(m, layers, foreground, reduction="none"), maps)
    expected = value_and_gradient(lambda m: plain.low_resolution_consistency_loss(m, layers, foreground), maps)
    assert_close(ours, expected)


def test_consistency_gradients_are_those_of_finite_differences_also_for_targets_and_foreground():
    maps, foreground = softmax_maps((2, 3, 6, 5), seed=4, soft=True)
    z = random_features(2, 2, 3, 4)
    inputs = [x.detach().requires_grad_() for x in (maps, z, foreground)]
    assert torch.autograd.gradcheck(consistency_loss, inputs)
    assert torch.autograd.gradcheck(lambda m, f: part_descriptors(m, f), inputs[:2])


def test_the_loss_is_the_mean_of_the_images():
    maps, foreground = softmax_maps((3, 2, 8, 8), seed=5)
    z = random_features(3, 4, 4, 4)
    each = consistency_loss(maps, z, foreground, reduction="none")
    assert each.shape == (3,)
    assert_close(consistency_loss(maps, z, foreground), each.mean())


def test_targets_constant_within_each_part_cost_nothing_and_mixing_them_costs():
    labels = torch.arange(4).view(1, 1, 2, 2).repeat_interleave(6, 2).repeat_interleave(5, 3)  # (1, 1, 12, 10)
    maps = torch.nn.functional.one_hot(labels[:, 0], 4).permute(0, 3, 1, 2).double()  # (1, 4, 12, 10)
    targets, foreground = labels.double() * 10, torch.ones(1, 1, 12, 10, dtype=torch.float64)
    assert consistency_loss(maps, targets, foreground) < 1e-6
    assert consistency_loss(maps.roll(3, dims=-1), targets, foreground) > 10


def test_consistency_does_not_see_a_constant_added_to_the_targets():
    maps, foreground = softmax_maps((2, 4, 32, 24), seed=6, dtype=torch.float32)
    z = random_features(2, 16, 8, 6, dtype=torch.float32)
    value, gradient = value_and_gradient(lambda m: consistency_loss(m, z, foreground), maps)
    far, far_gradient = value_and_gradient(lambda m: consistency_loss(m, z + 1000, foreground), maps)
    # float32 stores z + 1000 to 3e-5; the uncentered sums would have lost all digits of a variance of 9 out of 10^6.
    torch.testing.assert_close(far, value, rtol=1e-4, atol=0)
    torch.testing.assert_close(far_gradient, gradient, rtol=0, atol=1e-4 * float(gradient.abs().max()))


def test_float32_keeps_six_digits_of_the_value_at_many_pixels():
    maps, foreground = softmax_maps((2, 4, 128, 128), seed=7, dtype=torch.float32)
    layers = [random_features(2, 64, 32, 32, dtype=torch.float32), random_features(2, 128, 8, 8, dtype=torch.float32)]
    value, gradient = value_and_gradient(lambda m: consistency_loss(m, layers, foreground), maps)
    exact, exact_gradient = value_and_gradient(
        lambda m: consistency_loss(m, [z.double() for z in layers], foreground.double()), maps.double()
    )
    assert abs(value.double() - exact) < 1e-6 * exact
    assert (gradient - exact_gradient).abs().max() < 5e-5 * exact_gradient.abs().max()


def test_an_empty_part_changes_nothing():
    maps, foreground = softmax_maps((2, 3, 8, 6), seed=8)
    z = random_features(2, 4, 4, 3)
    with_empty = torch.cat([maps, torch.zeros_like(maps[:, :1])], dim=1)
    value, gradient = value_and_gradient(lambda m: consistency_loss(m, z, foreground), with_empty)
    assert_close(value, consistency_loss(maps, z, foreground))
    assert gradient.isfinite().all()
    assert (part_descriptors(with_empty, z)[:, 3] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_without_foreground_has_finite_losses_and_sends_no_gradient(dtype):
    logits = torch.randn(3, 4, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
    foreground = torch.ones(3, 1, 8, 8, dtype=dtype)
    foreground[1] = 0
    maps, z = logits.softmax(dim=1) * foreground, random_features(3, 5, 4, 4, dtype=dtype)
    each = consistency_loss(maps, z, foreground, reduction="none")
    assert each[1] == 0
    divergence = equivariance_loss(logits, logits.roll(1, dims=1), foreground, reduction="none")
    assert divergence[1] == 0
    total = each.sum() + divergence.sum() + contrastive_loss(part_descriptors(maps, z), 0.19)
    total.backward()
    assert total.isfinite()
    assert (logits.grad[1] == 0).all()
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() > 0


def test_matrices_cached_in_inference_mode_can_be_trained_with_later():
    maps, foreground = softmax_maps((1, 2, 23, 29), seed=10)  # a size that no other test has put into the cache
    z = random_features(1, 3, 11, 13)
    with torch.inference_mode():
        consistency_loss(maps, z, foreground)
    assert value_and_gradient(lambda m: consistency_loss(m, z, foreground), maps)[1].abs().max() > 0


# --- descriptors -------------------------------------------------------------------------------------------------


def test_descriptors_are_the_plain_means_of_all_layers():
    maps, _ = softmax_maps((2, 3, 12, 10), seed=11, soft=True)
    layers = [random_features(2, 5, 12, 10), random_features(2, 4, 5, 3)]
    ours = part_descriptors(maps, layers)
    assert ours.shape == (2, 3, 9)
    assert_close(ours, plain.part_descriptors(maps, plain.stacked(layers, (12, 10))))


# --- contrast ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "parts"), [(2, 2), (3, 4), (5, 3)])
def test_contrast_is_the_plain_row_by_row_formula(batch, parts):
    descriptors = random_features(batch, parts, 6) - 7
    ours = value_and_gradient(lambda d: contrastive_loss(d, 0.19), descriptors)
    assert_close(ours, value_and_gradient(lambda d: plain.contrastive_loss(d, 0.19), descriptors))
    drawn = draw_positives(batch, parts, torch.Generator().manual_seed(1))
    ours = value_and_gradient(lambda d: contrastive_loss(d, 0.5, drawn), descriptors)
    assert_close(ours, value_and_gradient(lambda d: plain.contrastive_loss(d, 0.5, drawn), descriptors))


def test_contrast_is_the_same_whatever_the_length_of_descriptors_and_the_order_of_images_and_parts():
    descriptors = random_features(4, 3, 6) - 7
    value = contrastive_loss(descriptors, 0.19)
    lengths = torch.rand(4, 3, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    assert_close(contrastive_loss(descriptors * lengths, 0.19), value)
    assert_close(contrastive_loss(descriptors[[2, 0, 3, 1]][:, [1, 2, 0]], 0.19), value)


def test_contrast_prefers_parts_that_look_alike_across_images():
    directions = torch.eye(4)
    alike = directions.expand(5, 4, 4)
    collapsed = torch.ones(5, 4, 4)
    chance = torch.log(torch.tensor(1.0 + 5 * 3))  # one positive among 15 negatives, all equal
    torch.testing.assert_close(contrastive_loss(collapsed, 0.19), chance)
    assert contrastive_loss(alike, 0.19) < 0.1
    shuffled = torch.stack([directions.roll(i, dims=0) for i in range(4)])
    assert contrastive_loss(shuffled, 0.19) > chance


def test_contrast_stays_finite_at_a_very_low_temperature():
    descriptors = (random_features(4, 3, 6, dtype=torch.float32) - 7).requires_grad_()
    value = contrastive_loss(descriptors, 1e-4)
    value.backward()
    assert value.isfinite()
    assert descriptors.grad.isfinite().all()


def test_sampled_contrast_averages_to_that_of_all_positives_and_is_decided_by_the_generator():
    descriptors = random_features(4, 3, 6) - 7

    def sample(seed):
        return contrastive_loss(descriptors, 0.5, "sample", torch.Generator().manual_seed(seed))

    values = torch.stack([sample(seed) for seed in range(200)])
    assert sample(3) == values[3]
    assert values.std() > 0
    standard_error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - contrastive_loss(descriptors, 0.5)) < 4 * standard_error


def test_draws_reach_every_other_image_and_the_releases_all_but_the_first():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([draw_positives(4, 2, generator) for _ in range(200)])
    release = torch.stack([draw_positives(4, 2, generator, first=1) for _ in range(200)])
    for row in range(8):
        others = set(range(4)) - {row // 2}
        assert set(draws[:, row].tolist()) == others
        assert set(release[:, row].tolist()) == others - {min(others)}


# --- equivariance ------------------------------------------------------------------------------------------------


def test_equivariance_is_the_plain_divergence_and_its_gradient():
    _, foreground = softmax_maps((3, 4, 9, 7), seed=12, soft=True)
    logits, target = random_features(3, 4, 9, 7), random_features(3, 4, 9, 7, seed=6)
    ours = value_and_gradient(lambda x: equivariance_loss(x, target, foreground, reduction="none"), logits)
    assert_close(ours, value_and_gradient(lambda x: plain.equivariance_loss(x, target, foreground), logits))
    assert torch.autograd.gradcheck(lambda x: equivariance_loss(x, target, foreground), logits.requires_grad_())


def test_equivariance_teaches_the_parts_of_the_warped_image_only():
    logits, target = (random_features(2, 3, 6, 6, seed=seed).requires_grad_() for seed in (5, 6))
    equivariance_loss(logits, target, torch.ones(2, 1, 6, 6, dtype=torch.float64)).backward()
    assert logits.grad.abs().max() > 0
    assert target.grad is None


def test_equivariance_is_zero_for_equal_parts_and_positive_otherwise():
    _, foreground = softmax_maps((2, 3, 6, 6), seed=13)
    logits = random_features(2, 3, 6, 6)
    assert equivariance_loss(logits + 5, logits, foreground).abs() < 1e-12
    assert equivariance_loss(logits.roll(1, dims=1), logits, foreground) > 0.1


def test_equivariance_ignores_what_lies_outside_the_foreground():
    _, foreground = softmax_maps((2, 3, 6, 6), seed=14)
    logits, target = random_features(2, 3, 6, 6), random_features(2, 3, 6, 6, seed=6)
    elsewhere = target + 9 * (1 - foreground) * random_features(2, 3, 6, 6, seed=7)
    assert_close(equivariance_loss(logits, elsewhere, foreground), equivariance_loss(logits, target, foreground))


def test_equivariance_survives_certain_and_contradicting_predictions():
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 0] = 1e4
    prediction = logits.flip(1).requires_grad_()
    value = equivariance_loss(prediction, logits, torch.ones(1, 1, 4, 4))
    value.backward()
    torch.testing.assert_close(value, torch.tensor(1e4))
    assert prediction.grad.isfinite().all()
