"""The protocols as functions, on what the release's evaluation was given (tests/golden)."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from partlib.data.base import PartDataset, Sample
from partlib.data.cub import KEYPOINT_NAMES
from partlib.data.deepfashion import COLORS
from partlib.paper.protocols import KeypointReading, cub_scores, network, read_keypoints
from partlib.paper.release_data import labels_as_gray_values
from tests.parity.compare import assert_same

FLOAT64, FLOAT32 = 1e-10, 1e-5
TOP, LEFT, HEIGHT, WIDTH = 3, 2, 64, 48  # of 70 x 52 pixels, the release scores the middle


class StoredImages(PartDataset):
    """The three images of the CUB evaluation; the first pixel of each says which it is."""

    name, split, keypoint_names = "cub", "test", KEYPOINT_NAMES

    def __init__(self, g):
        self.g = g
        self.boxes = np.concatenate([g[f"bbox_{i}"][:, 1:].astype(np.float64) for i in range(3)]) - [LEFT, TOP, 0, 0]

    def __len__(self):
        return 3

    def __getitem__(self, i):
        foreground = torch.from_numpy(self.g[f"fg_{i}"]).double()[0, :, TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
        keypoints = torch.from_numpy(self.g[f"landmarks_{i}"]).double()[0, :, 1:] - torch.tensor([LEFT, TOP, 0.0])
        image = torch.full((3, HEIGHT, WIDTH), float(i), dtype=torch.float64)
        return Sample(image, (foreground > 0).double(), None, keypoints, 0, str(i))


class StoredNetwork(nn.Module):
    """Gives the stored low-resolution logits of the images."""

    def __init__(self, g):
        super().__init__()
        self.low = nn.Parameter(torch.from_numpy(np.concatenate([g[f"low_{i}"] for i in range(3)])).double())

    def encoder(self, images):
        return images[:, 0, 0, 0].long()  # (B,)

    def decoder(self, which):
        return self.low[which]  # (B, K, h, w)


def test_cub_protocol_matches_from_logits_to_scores(golden):
    g = golden("cub_notebook_nmi")
    images = StoredImages(g)
    reading = read_keypoints(network(StoredNetwork(g)), [images], release=True)
    centers = (reading.centers.numpy() - images.boxes[:, None, :2]) / images.boxes[:, None, 2:]  # (3, K, 2)
    assert_same({"CUB protocol: part centers": (centers.reshape(3, -1), g["create_centers_centers"])}, FLOAT32)
    scores = cub_scores(reading, reading)
    stored = {"fg_nmi": "nmi_fg", "fg_ari": "ari_fg", "nmi": "nmi_full", "ari": "ari_full"}
    assert_same(
        {
            "CUB protocol: parts under keypoints": (reading.parts.numpy() - 1, g["nmi_pred_fg"]),
            "CUB protocol: with background": (reading.masked_parts.numpy(), g["nmi_pred_with_bg"]),
            **{f"CUB protocol: {ours}": (scores[ours], 100 * g[name]) for ours, name in stored.items()},
        },
        FLOAT64,
    )


def test_the_defaults_differ_from_the_release_on_the_same_logits(golden):
    """Or else ``reproduce_release`` would be a flag without effect."""
    g = golden("cub_notebook_nmi")
    ours, release = (read_keypoints(network(StoredNetwork(g)), [StoredImages(g)], flag) for flag in (False, True))
    assert (ours.centers - release.centers).abs().mean() > 0.5  # about a pixel
    assert (ours.parts != release.parts).any()


def test_cub_keypoint_errors_match(golden):
    g = golden("kp_regression")

    def reading(split):
        keypoints = np.concatenate([g[f"{split}_gt"], g[f"{split}_visible"][..., None]], axis=-1)
        count = int((g[f"{split}_visible"] > 0).sum())
        unit_boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(keypoints), 1)
        none = torch.zeros(count, dtype=torch.int64)
        labels = torch.from_numpy(g[f"{split}_labels"]) - 1  # the release counts species from 1
        return KeypointReading(
            *(torch.from_numpy(g[f"{split}_pred"]), torch.from_numpy(keypoints), unit_boxes, labels),
            *(none, none, none + 1),
        )

    scores = cub_scores(reading("train"), reading("val"))
    quantities = {"CUB protocol: keypoint error, all": (scores["kp_all"], 100 * g["error_all_f64"])}
    for i, stored in enumerate(g["error_class_f64"], 1):
        quantities[f"CUB protocol: keypoint error, 00{i}"] = (scores[f"kp_00{i}"], 100 * stored)
    assert_same(quantities, FLOAT64)


def test_deepfashion_labels_of_whole_images_match(golden, tmp_path):
    g = golden("deepfashion")
    Image.fromarray(COLORS[g["notebook_label_in"]]).save(tmp_path / "photo_segment.png")
    shrunk = labels_as_gray_values(tmp_path / "photo.jpg", 16)
    assert_same({"DeepFashion protocol: labels": (shrunk, g["notebook_label_resized16"])}, 0)
