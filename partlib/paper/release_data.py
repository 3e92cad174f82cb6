"""The paper's data sets as the authors' release loads them, to the digit: its pixels, its keypoints, its choices.

Sampling without antialiasing drops pixels where an image shrinks; the loaders of :mod:`partlib.data` average over them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partlib.data import load_dataset
from partlib.data.base import PartDataset
from partlib.data.cub import CubCrops
from partlib.data.deepfashion import read_segmentation
from partlib.data.photos import Rows, Square, crop_square, square_of


def release_crop(image: np.ndarray, square: Square) -> np.ndarray:
    """Cut ``square`` out of a photograph (H, W, 3) uint8; outside of it every channel is 1 (of 255)."""
    inside = crop_square(np.ones(image.shape[:2], bool), square, "zero")  # (side, side)
    return np.where(inside[..., None], crop_square(image, square, "zero"), np.uint8(1))


def normalize_keypoints(keypoints: np.ndarray, square: Square) -> np.ndarray:
    """Keypoints (N, 3) in the crop as ``2 (x - left) / side - 1`` in [-1, 1]; invisible ones are 0."""
    normalized = keypoints.copy()
    normalized[:, :2] = 2 * (normalized[:, :2] - square[:2]) / square[2] - 1
    normalized[normalized[:, 2] == 0, :2] = 0
    return normalized


def letterbox(photo: np.ndarray, mask: np.ndarray, labels: np.ndarray, size: int) -> Rows:
    """A photograph of DeepFashion, its mask and labels resized to fit a square of ``size``, its short side centered."""
    height, width = (max(round(length * size / max(labels.shape)), 1) for length in labels.shape)
    square = square_of((height, width))
    return {
        "images": crop_square(resize_bilinear_8bit(photo, height, width), square, "edge"),
        "masks": crop_square(resize_nearest(mask, height, width), square, "zero") * np.uint8(255),
        "parts": crop_square(resize_nearest(labels, height, width), square, "zero"),
    }


def labels_as_gray_values(photo: Path, size: int) -> np.ndarray:
    """Classes of a photograph of DeepFashion, (size, size) uint8, shrunk as the release does to score whole images."""
    labels = read_segmentation(photo.with_name(f"{photo.stem}_segment.png"))
    return resize_labels_bilinear(crop_square(labels, square_of(labels.shape), "zero"), size, size)


def resize_labels_bilinear(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Labels (H, W) uint8 resized as if they were gray values: between 0 and 12 come 1 and 11."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.BILINEAR))


def _places(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``size`` cells: the pixels of ``length`` on both sides of its center and the weight of the second."""
    place = ((np.arange(size) + 0.5) * (1 / (size / length)) - 0.5).clip(0, length - 1)
    low = place.astype(np.int64)
    return low, np.minimum(low + 1, length - 1), place - low


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of (H, W, C) to (height, width, C) float64, pixel centers at halves, not antialiased."""
    top, bottom, weight = _places(image.shape[0], height)
    rows = image[top] * (1 - weight)[:, None, None] + image[bottom] * weight[:, None, None]  # (height, W, C)
    left, right, weight = _places(image.shape[1], width)
    return rows[:, left] * (1 - weight)[:, None] + rows[:, right] * weight[:, None]


def resize_bilinear_8bit(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same for uint8 with weights of 11 bits, cut off as older OpenCV does for speed (5.0 rounds differently)."""
    top, bottom, down = _places(image.shape[0], height)
    left, right, across = _places(image.shape[1], width)
    down, across = (np.rint(weight * 2048).astype(int)[:, None] for weight in (down, across))
    wide = image.astype(np.int64)
    rows = wide[:, left] * (2048 - across) + wide[:, right] * across  # (H, width, C), 19 bits
    upper = ((rows[top] >> 4) * (2048 - down[..., None])) >> 16  # (height, width, C), 10 bits
    lower = ((rows[bottom] >> 4) * down[..., None]) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def resize_nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W) to (height, width) by reading, for each cell, the pixel under its upper left corner."""
    # The reciprocal of a rounded ratio decides where a corner falls on the border of two pixels.
    rows = (np.arange(height) * (1 / (height / labels.shape[0]))).astype(np.int64)
    columns = (np.arange(width) * (1 / (width / labels.shape[1]))).astype(np.int64)
    return labels[rows][:, columns]


class ReleaseCrops(CubCrops):
    """Crops of CUB sampled without antialiasing, keypoints half a pixel of the photograph to the upper left."""

    def resize(self, photo: np.ndarray, mask: np.ndarray, square: Square) -> Rows:
        size = self.image_size
        image = resize_bilinear(release_crop(photo, square), size, size).astype(np.uint8)
        return {"images": image, "masks": resize_nearest(crop_square(mask, square, "zero"), size, size) * np.uint8(255)}

    def place(self, keypoints: np.ndarray, square: Square) -> np.ndarray:
        placed = normalize_keypoints(keypoints, square)
        placed[:, :2] = (placed[:, :2] + 1) / 2 * self.image_size  # [-1, 1] -> pixels
        return placed


# Options of ``load_dataset`` under which images and annotations are those of the release.
OPTIONS: dict[str, dict[str, Any]] = {
    "cub": {"crops": ReleaseCrops},
    "deepfashion": {"resize": letterbox},
    "pascal-part": {"keep_without_parts": True, "crop": False},
}


def load(name: str, split: str, root: str | Path | None = None, image_size: int = 128, **options: Any) -> PartDataset:
    """``load_dataset`` with the release's pixels and nothing held out; data sets that it does not have, as they are."""
    release = {"hold_out": False, **OPTIONS[name]} if name in OPTIONS else {}
    return load_dataset(name, split, root, image_size, **(release | options))
