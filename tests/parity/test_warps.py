"""Thin-plate grids and warped images against the release's, to 2e-5 (its grids are computed in float32)."""

import pytest
import torch

from partlib.warps import identity_points, similarity, thin_plate_grid, warp
from tests.parity.compare import assert_same

TOLERANCE = 2e-5


def test_lattice_has_the_releases_points_and_order(golden):
    assert torch.equal(identity_points(), torch.from_numpy(golden("tps_16x16")["target_control_points"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_thin_plate_grid_is_the_releases(golden, dtype):
    stored = golden("tps_16x16")
    grid = thin_plate_grid(torch.from_numpy(stored["source_control_points"]).to(dtype), (16, 16))
    assert_same({f"thin-plate grid, {dtype}": (grid, stored["grid"])}, TOLERANCE)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("warp_zeros", {}),
        ("warp_border", {"padding_mode": "border"}),
        ("warp_zeros_nearest", {"mode": "nearest"}),
    ],
)
def test_warped_image_is_the_releases(golden, name, options):
    stored = golden("tps_16x16")
    image, grid = torch.from_numpy(stored["image"]), torch.from_numpy(stored["grid"])
    ours = thin_plate_grid(torch.from_numpy(stored["source_control_points"]), (16, 16))
    assert_same({name: (warp(image, grid, **options), stored[name])}, TOLERANCE)
    # Through our own grid the error of the grid is multiplied by the steepness of the image (this one is noise): the
    # largest difference of neighbours times the pixels in a unit of the grid, once per axis.
    steepness = max(image.diff(dim=2).abs().max(), image.diff(dim=3).abs().max()) * 15 / 2
    difference = (warp(image, ours, **options) - torch.from_numpy(stored[name])).abs().max()
    assert difference <= 2 * TOLERANCE * steepness


def test_warped_ones_are_the_releases(golden):
    stored = golden("tps_16x16")
    ones = torch.ones(4, 1, 16, 16)
    grid = torch.from_numpy(stored["grid"])
    assert_same({"warped ones": (warp(ones, grid), stored["warped_ones_zeros"])}, TOLERANCE)


def test_similarity_after_jitter_is_the_releases(golden):
    stored = {k: torch.from_numpy(v) for k, v in golden("tps_affine_compose").items()}
    shift = torch.stack([stored["shift_x"], stored["shift_y"]], dim=1)  # (4, 2)
    jittered = (stored["target_control_points"] + stored["perturbation"]).double()  # (4, 25, 2)
    points = similarity(jittered, stored["scale"], stored["angle_degrees"], shift)
    grid = thin_plate_grid(points.float(), (24, 16))
    assert_same(
        {
            "warp: source points": (points, stored["source_control_points"]),
            "warp: grid 24x16": (grid, stored["grid_H24_W16"]),
        },
        TOLERANCE,
    )
