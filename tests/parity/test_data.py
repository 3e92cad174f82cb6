"""The paper's data sets, prepared as the release prepares them (tests/golden)."""

import numpy as np
import pytest

from partlib.data import cub_crop
from tests.parity.compare import assert_same

FLOAT64 = 1e-10
CUB_PADDING = CUB_JITTER = 0.05


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("case", range(3))
def test_cub_box_crop_resize_and_mirrored_keypoints_match(golden, case, mode):
    g = golden("cub_crop_pipeline")
    stored = {key.removeprefix(f"{case}_{mode}_"): value for key, value in g.items()}
    size = int(g["out_size"])
    jitter = CUB_JITTER if mode == "train" else 0.0
    box = cub_crop.perturb_box(g[f"{case}_bbox_in"], CUB_PADDING, jitter, g[f"{case}_random_draws_x0_y0_x1_y1"])
    square = left, top, side = cub_crop.square_box(box)
    crop = cub_crop.release_crop(g["img"], square)
    normalised = cub_crop.normalise_keypoints(g["kp_pixels_in"], square)
    assert_same(
        {
            "CUB perturbed box": (box, stored["perturbed_bbox"]),
            "CUB square": ([left, top, left + side - 1, top + side - 1], stored["square_bbox"]),
            "CUB crop": (crop, stored["crop_img_u8"]),
            # Stored as whole numbers, cut off rather than rounded.
            "CUB resized crop": (np.floor(cub_crop.resize_bilinear(crop, size)), stored["scaled_img_u8"]),
            "CUB resized mask": (
                cub_crop.resize_nearest(cub_crop.crop_square(g["mask"], square, "zero"), size),
                stored["scaled_mask"],
            ),
            "CUB keypoints in the crop": (normalised, stored["kp_norm"]),
            "CUB mirrored keypoints": (cub_crop.mirror_keypoints(normalised, size), stored["kp_norm_mirrored"]),
        },
        FLOAT64,
    )


def test_cub_left_and_right_exchange_the_same_keypoints(golden):
    assert tuple(golden("cub_crop_pipeline")["kp_perm"]) == cub_crop.MIRRORED
