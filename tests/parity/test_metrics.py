"""Metrics against values computed with the authors' evaluation code and scikit-learn (tests/golden)."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from partlib.metrics import (
    KeypointRegression,
    PartScores,
    ari,
    contingency_table,
    keypoint_regression_error,
    nmi,
)
from partlib.paper.protocols import keypoint_labels_release, part_centers_evaluation
from tests import plain
from tests.parity.compare import assert_same

FLOAT64, FLOAT32 = 1e-10, 1e-5  # the stored values are of one precision or the other
CASES = ["corr", "random", "perm_equal", "pred_constant", "both_constant", "singletons", "neg", "two"]


@pytest.mark.parametrize("case", CASES)
def test_nmi_and_ari_match(golden, case):
    g = golden("nmi_ari")
    table = contingency_table(torch.from_numpy(g[f"{case}_pred"]), torch.from_numpy(g[f"{case}_gt"]))
    assert_same({"NMI": (nmi(table), g[f"{case}_nmi"]), "ARI": (ari(table), g[f"{case}_ari"])}, FLOAT64)


@pytest.mark.parametrize("index", range(3))
def test_ari_is_exact_where_the_release_overflows(golden, index):
    g = golden("nmi_ari")
    table, exact = g[f"big{index}_contingency"], g[f"big{index}_ari_exact"]
    assert table.sum() > 1e8
    assert_same({"ARI of 3e8 pixels": (ari(table), exact)}, 1e-14)
    assert abs(g[f"big{index}_ari_int64_overflowing"] - exact) > 0.1  # what the case is here for


def part_maps(logits, mask, align_corners):
    """Logits of the network (B, K, h, w) -> part maps (B, K, H, W) under the mask (B, 1, H, W)."""
    logits, mask = torch.from_numpy(logits).double(), torch.from_numpy(mask).double()
    return F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=align_corners).softmax(1) * mask


def test_part_centers_match_both_conventions(golden):
    g = golden("centers")
    in_training = part_maps(g["pred_low"], g["mask"], align_corners=True)
    in_evaluation = part_maps(g["pred_low"], g["mask"], align_corners=False)
    stored_maps = [
        g[f"assignment_{n}"] * g["mask"] for n in ("trainer_align_corners_true", "notebook_align_corners_false")
    ]
    width = g["mask"].shape[-1]  # the release's training centers are in units of the image width
    training = plain.part_centers_training(in_training) / width
    quantities = {
        "part maps, training": (in_training, stored_maps[0]),
        "part maps, evaluation": (in_evaluation, stored_maps[1]),
        "part centers, training": (
            training,
            g["trainer_pred_centers_normalised"],
        ),
        "part centers, evaluation, training's maps": (
            part_centers_evaluation(in_training),
            g["notebook_calc_center_same_assignment_pixels_1based"],
        ),
        "part centers, evaluation": (
            part_centers_evaluation(in_evaluation),
            g["notebook_calc_center_own_assignment_pixels_1based"],
        ),
    }
    assert_same(quantities, FLOAT32)


def test_keypoint_labels_in_training_match(golden):
    g = golden("centers")
    size = g["mask"].shape[-1]
    maps = F.interpolate(torch.from_numpy(g["pred_low"]), size=(size, size), mode="bilinear", align_corners=True)
    keypoints = torch.from_numpy(g["kp"]).clone()
    keypoints[..., :2] = (keypoints[..., :2] + 1) / 2 * size  # [-1, 1] -> pixels
    predicted, target = keypoint_labels_release(maps.argmax(1) + 1, keypoints)
    assert (predicted - 1).tolist() == g["trainer_nmi_pred"].tolist()
    assert (target - 1).tolist() == g["trainer_nmi_gt"].tolist()


def cub_images(g):
    """The three images of the CUB protocol: part maps, foreground, keypoints in the crop, box in the crop."""
    top, left = 3, 2  # the crop keeps 64 x 48 of 70 x 52 pixels, around the middle
    for i in range(3):
        foreground = torch.from_numpy(g[f"fg_{i}"]).double()[..., top : top + 64, left : left + 48]
        maps = part_maps(g[f"low_{i}"], np.ones((1, 1, 64, 48)), align_corners=False)
        keypoints = torch.from_numpy(g[f"landmarks_{i}"]).double()[..., 1:] - torch.tensor([left, top, 0.0])
        box = g[f"bbox_{i}"][:, 1:].astype(np.float64) - [left, top, 0, 0]
        yield maps, foreground, keypoints, box


def test_cub_clustering_protocol_matches(golden):
    g = golden("cub_notebook_nmi")
    scores, found = {"fg": PartScores(), "full": PartScores()}, {"fg": [], "full": []}
    for maps, foreground, keypoints, _ in cub_images(g):
        labels = maps.argmax(1) + 1
        for kind, label_map in (("fg", labels), ("full", labels * (foreground[:, 0] > 0))):
            predicted, target = keypoint_labels_release(label_map, keypoints)
            scores[kind].update(predicted, target)
            found[kind] += predicted.tolist()
    quantities = {
        "keypoint labels without background": (np.array(found["fg"]) - 1, g["nmi_pred_fg"]),
        "keypoint labels with background": (found["full"], g["nmi_pred_with_bg"]),
    }
    for kind, result in ((kind, s.compute()) for kind, s in scores.items()):
        quantities[f"CUB NMI, {kind}"] = (result["fg_nmi"], 100 * g[f"nmi_{kind}"])
        quantities[f"CUB ARI, {kind}"] = (result["fg_ari"], 100 * g[f"ari_{kind}"])
    assert_same(quantities, FLOAT64)


def test_cub_centers_and_keypoints_match_relative_to_the_box(golden):
    g = golden("cub_notebook_nmi")
    for i, (maps, foreground, keypoints, box) in enumerate(cub_images(g)):
        centers = (part_centers_evaluation(maps * foreground).numpy() - box[:, None, :2]) / box[:, None, 2:]
        places = ((keypoints[..., :2].numpy() - box[:, None, :2]) / box[:, None, 2:])[0]  # (15, 2)
        visible = keypoints[0, :, 2].numpy() > 0
        quantities = {
            "CUB part centers": (centers.ravel(), g["create_centers_centers"][i]),
            "CUB keypoints": (places[visible], g["create_centers_annos"][i].reshape(15, 2)[visible]),
            "CUB visibility": (visible, g["create_centers_masks"][i].reshape(15, 2)[:, 0]),
        }
        assert_same(quantities, FLOAT32)


def test_keypoint_regression_matches(golden):
    g = golden("kp_regression")
    train, test = (np.concatenate([g[f"{s}_gt"], g[f"{s}_visible"][..., None]], axis=-1) for s in ("train", "val"))
    visible = g["val_visible"] > 0
    predicted = KeypointRegression().fit(g["train_pred"], train).predict(g["val_pred"])
    assert_same({"regressed keypoints": (predicted[visible], g["fitted_val_keypoints"][visible])}, FLOAT32)

    def error(pick):
        return keypoint_regression_error(g["train_pred"], train, g["val_pred"][pick], test[pick]) / 100

    quantities = {"keypoint error": (error(np.s_[:]), g["error_all_f64"])}
    for i, stored in enumerate(g["error_class_f64"]):
        quantities[f"keypoint error, class {i + 1}"] = (error(g["val_labels"] == i + 1), stored)
    assert_same(quantities, FLOAT64)
