"""Thin-plate warps: identity, interpolation, linearity, and that the cached form is the plain one."""

import pytest
import torch
import torch.nn.functional as F

from partlib.warps import identity_points, random_points, similarity, thin_plate_grid, warp
from tests import plain


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_images(batch: int, height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(batch, 3, 5, 5, generator=seeded(), dtype=torch.float64)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)


def pixel_positions(height: int, width: int) -> torch.Tensor:
    """Positions of the pixels themselves, (1, H, W, 2), as torch's affine grids define them."""
    eye = torch.eye(2, 3, dtype=torch.float64)[None]
    return F.affine_grid(eye, [1, 1, height, width], align_corners=True)


@pytest.mark.parametrize("size", [(16, 16), (24, 10), (7, 33)])
def test_identity_points_leave_every_pixel_where_it_is(size):
    grid = thin_plate_grid(identity_points(dtype=torch.float64)[None], size)
    torch.testing.assert_close(grid, pixel_positions(*size), atol=1e-12, rtol=0)
    image = smooth_images(1, *size)
    torch.testing.assert_close(warp(image, grid), image, atol=1e-10, rtol=0)


def test_grid_reads_lattice_points_from_their_source_points():
    points = random_points(3, seeded()).double()
    grid = thin_plate_grid(points, (9, 9))  # every second pixel is a lattice point
    lattice = grid[:, ::2, ::2].transpose(1, 2).reshape(3, 25, 2)  # (3, 5 y, 5 x, 2) -> x slow -> (3, 25, 2)
    torch.testing.assert_close(lattice, points, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (24, 10)])
def test_cached_grid_is_the_plain_one_rebuilt_from_the_formula(size):
    points = random_points(4, seeded(), jitter=0.2).double()
    expected = plain.thin_plate_grid(points, size)
    torch.testing.assert_close(thin_plate_grid(points, size), expected, atol=1e-11, rtol=0)
    torch.testing.assert_close(thin_plate_grid(points, size), expected, atol=1e-11, rtol=0)  # now from the cache
    torch.testing.assert_close(thin_plate_grid(points.float(), size), expected.float(), atol=2e-6, rtol=0)


def test_grids_of_a_batch_are_those_of_its_images_alone():
    points = random_points(3, seeded()).double()
    grids = thin_plate_grid(points, (12, 8))
    for i in range(3):
        torch.testing.assert_close(grids[i : i + 1], thin_plate_grid(points[i : i + 1], (12, 8)), atol=1e-13, rtol=0)


def test_similarity_turns_x_towards_y_then_scales_then_shifts():
    point = torch.tensor([[[1.0, 0.0]]])
    moved = similarity(point, torch.tensor([2.0]), torch.tensor([90.0]), torch.tensor([[0.1, 0.2]]))
    torch.testing.assert_close(moved, torch.tensor([[[0.1, 2.2]]]))


def test_warps_without_jitter_are_exact_similarities():
    scale, angle, shift = torch.tensor([0.7, 1.3]), torch.tensor([30.0, -50.0]), torch.tensor([[0.1, 0.0], [0.0, -0.1]])
    options = (scale.double(), angle.double(), shift.double())
    points = similarity(identity_points(dtype=torch.float64).expand(2, 25, 2), *options)
    everywhere = similarity(pixel_positions(10, 14).view(1, -1, 2), *options).view(2, 10, 14, 2)
    torch.testing.assert_close(thin_plate_grid(points, (10, 14)), everywhere, atol=1e-12, rtol=0)


def test_warping_twice_is_warping_by_the_composed_similarity():
    lattice, identity = identity_points(dtype=torch.float64)[None], torch.zeros(1, 2, dtype=torch.float64)
    one, angle = torch.ones(1, dtype=torch.float64), torch.full((1,), 25.0, dtype=torch.float64)
    image = smooth_images(1, 64, 64)
    quarter = thin_plate_grid(similarity(lattice, 0.6 * one, angle, identity), (64, 64))
    half = thin_plate_grid(similarity(lattice, 0.36 * one, 2 * angle, identity), (64, 64))
    difference = (warp(warp(image, quarter), quarter) - warp(image, half)).abs()
    assert difference.max() < 0.02  # two interpolations against one
    assert (image - warp(image, half)).abs().max() > 0.2


def test_warping_commutes_with_what_acts_on_every_pixel_alone():
    image = smooth_images(2, 20, 20)
    grid = thin_plate_grid(random_points(2, seeded()).double(), (20, 20))
    mix = torch.randn(4, 3, generator=seeded(), dtype=torch.float64)
    mixed = torch.einsum("dc,bchw->bdhw", mix, image)
    torch.testing.assert_close(warp(mixed, grid), torch.einsum("dc,bchw->bdhw", mix, warp(image, grid)))


def test_what_lies_outside_is_zero_and_inside_keeps_its_range():
    points = similarity(
        identity_points().expand(1, 25, 2), torch.full((1,), 2.0), torch.zeros(1), torch.zeros(1, 2)
    )  # reads twice the image: a border of half a side on every side
    warped = warp(torch.ones(1, 1, 33, 33), thin_plate_grid(points, (33, 33)))
    assert (warped[..., :7, :] == 0).all()
    assert warped[..., 9:24, 9:24].min() > 1 - 1e-5
    assert warped.max() <= 1 + 1e-6


def test_random_points_stay_within_their_ranges_and_fill_them():
    points = random_points(500, seeded(), jitter=0.0)
    centers, corner = points.mean(dim=1), points[:, -1] - points.mean(dim=1)  # shift, and s (cos a - sin a, ...)
    scale = corner.norm(dim=1) / 2**0.5
    angle = torch.rad2deg(torch.atan2(corner[:, 1], corner[:, 0])) - 45
    for value, low, high in ((scale, 0.5, 1.4286), (angle, -60, 60), (centers[:, 0], -0.1, 0.1)):
        slack = 1e-4 * (high - low)
        assert low - slack <= value.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < value.max() <= high + slack


def test_jitter_moves_every_coordinate_on_its_own_by_no_more_than_its_amount():
    points = random_points(50, seeded(), jitter=0.01, scale=(1.0, 1.0), angle=0.0, translate=0.0)
    moved = points - identity_points()
    assert 0.0095 < moved.abs().max() <= 0.01 + 1e-6
    assert moved.flatten(1).std(dim=1).min() > 0.004
    assert abs(moved.mean()) < 0.001


def test_a_seed_decides_the_warps():
    assert torch.equal(random_points(2, seeded(7)), random_points(2, seeded(7)))
    assert not torch.equal(random_points(2, seeded(7)), random_points(2, seeded(8)))


def test_grid_is_differentiable_in_its_points_also_after_inference_mode():
    points = random_points(1, seeded()).double()
    with torch.inference_mode():
        thin_plate_grid(points, (5, 31))
    assert torch.autograd.gradcheck(lambda p: thin_plate_grid(p, (5, 31)), points.requires_grad_())
