"""The paper's data sets, prepared as the release prepares them (tests/golden)."""

import numpy as np
import pytest
from PIL import Image

from partlib.data import deepfashion, pascal_part
from partlib.data.cub import MIRRORED, perturb_box, square_box
from partlib.data.pascal_part import PART_NAMES, paint_parts, read_objects
from partlib.data.photos import crop_square
from partlib.errors import DataError
from partlib.paper.release_data import (
    letterbox,
    normalize_keypoints,
    release_crop,
    resize_bilinear,
    resize_labels_bilinear,
    resize_nearest,
)
from tests.export.pascal import write_annotation
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
    box = perturb_box(g[f"{case}_bbox_in"], CUB_PADDING, jitter, g[f"{case}_random_draws_x0_y0_x1_y1"])
    square = left, top, side = square_box(box)
    crop = release_crop(g["img"], square)
    normalized = normalize_keypoints(g["kp_pixels_in"], square)
    mirrored = normalized[MIRRORED, :2]
    visible = normalized[MIRRORED, 2:] > 0
    mirrored[:, 0] = -mirrored[:, 0] - 2 / size  # size - 1 - x in pixels
    assert_same(
        {
            "CUB perturbed box": (box, stored["perturbed_bbox"]),
            "CUB square": ([left, top, left + side - 1, top + side - 1], stored["square_bbox"]),
            "CUB crop": (crop, stored["crop_img_u8"]),
            # Stored as whole numbers, cut off rather than rounded.
            "CUB resized crop": (np.floor(resize_bilinear(crop, size, size)), stored["scaled_img_u8"]),
            "CUB resized mask": (
                resize_nearest(crop_square(g["mask"], square, "zero"), size, size),
                stored["scaled_mask"],
            ),
            "CUB keypoints in the crop": (normalized, stored["kp_norm"]),
            "CUB mirrored keypoints": (mirrored * visible, stored["kp_norm_mirrored"][:, :2]),
        },
        FLOAT64,
    )


def test_cub_left_and_right_exchange_the_same_keypoints(golden):
    assert tuple(golden("cub_crop_pipeline")["kp_perm"]) == tuple(MIRRORED)


def test_deepfashion_palette_and_label_order_match(golden, tmp_path):
    g = golden("deepfashion")
    assert_same({"DeepFashion palette": (deepfashion.COLORS, g["colours"])}, 0)
    Image.fromarray(g["colours"].astype(np.uint8)[None]).save(tmp_path / "colors.png")
    labels = deepfashion.read_segmentation(tmp_path / "colors.png")[0]  # (16,)
    assert_same({"DeepFashion labels": (labels, g["col2idx"][g["colour_sums"]])}, 0)


def test_a_foreign_color_with_the_sum_of_a_known_one_passes_in_the_release_and_not_here(golden, tmp_path):
    g = golden("deepfashion")
    foreign = np.array([[[100, 0, 0]]], np.uint8)  # belt is (0, 100, 0)
    assert g["col2idx"][foreign.sum()] == 1
    Image.fromarray(foreign).save(tmp_path / "foreign.png")
    with pytest.raises(DataError, match=r"foreign.png: color \(100, 0, 0\)"):
        deepfashion.read_segmentation(tmp_path / "foreign.png")


def test_deepfashion_resizing_matches(golden):
    g = golden("deepfashion")
    labels = g["scale_in_seg"].astype(np.uint8)
    rows = letterbox(g["scale_in_img"], labels > 0, labels, int(g["out_size"]))
    shrunk = resize_labels_bilinear(g["notebook_label_in"], 16, 16)
    assert_same(
        {
            "DeepFashion resized image": (rows["images"], g["scale_out_img"]),
            "DeepFashion resized labels": (rows["parts"], g["scale_out_seg"]),
            "DeepFashion labels resized as gray values": (shrunk, g["notebook_label_resized16"]),
        },
        FLOAT64,
    )
    assert set(shrunk.ravel()) > set(g["notebook_label_in"].ravel())  # invented classes, which is why it is not ours


def pascal_annotations(g, folder):
    """The stored images a, b, c, d as annotation files; yields their objects in order."""
    for image in "abcd":
        objects = []
        for number in range(2):
            masks = {key: value > 0 for key, value in g.items() if key.startswith(f"in_{image}_{number}_")}
            if masks:
                parts = [(key.split("_", 4)[4], mask) for key, mask in masks.items() if "_part" in key]
                category = "cat" if parts and parts[0][0] == "head" else "car"
                objects.append((category, masks[f"in_{image}_{number}_objmask"], parts))
        write_annotation(folder / f"{image}.mat", objects)
        yield from read_objects(folder / f"{image}.mat")


@pytest.mark.parametrize("split", ["train", "test"])
def test_pascal_objects_are_chosen_and_painted_alike(golden, split, tmp_path):
    g = golden("pascal_parts")
    chosen = [
        entry
        for entry in pascal_annotations(g, tmp_path)
        if entry.category == "car" and np.prod(entry.box()[2:]) / entry.mask.size >= pascal_part.MIN_AREA[split]
    ]
    painted = [paint_parts(entry.parts, PART_NAMES["car"], entry.mask.shape) for entry in chosen]
    assert_same({f"PASCAL-Part labels, {split}": (painted, g[f"{split}_masks"])}, 0)
    assert not painted[-1].any()  # an object without parts is among them, all background
