"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes, 15 keypoints and masks, but no part masks.

Source: Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001, Caltech.
The paper trains on all species and reports keypoint errors for classes 001, 002, 003 and all (its table 1). The layout
is described in :mod:`partlib.data.cub_files`.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
import torch

from partlib.data.base import ArrayDataset, PartDataset, Sample
from partlib.data.cub_files import FOLDER, KEYPOINT_NAMES, LISTS, CubIndex, download, find_segmentations, read_index
from partlib.data.masks import read_mask
from partlib.data.prepare import (
    MIN_FOREGROUND,
    Prepared,
    Rows,
    crop_square,
    prepare_once,
    read_photo,
    resize_mask,
    resize_photo,
    split_of,
)
from partlib.errors import ConfigError, DataError
from partlib.paper import cub_crop
from partlib.paper.cub_crop import Square, perturb_box, square_box
from partlib.paper.release_resize import resize_bilinear, resize_nearest
from partlib.paths import data_dir

__all__ = ["CubCrops", "download", "load"]

VAL_PERCENT = 10  # of the official training images, chosen by name


def load(
    split: str,
    root: Path | None,
    image_size: int,
    *,
    classes: Sequence[int] | None = None,
    masks: str | Path | None = None,
    padding: float = 0.05,
    jitter: float = 0.0,
    mirror: bool = False,
    hold_out: bool = True,
    reproduce_release: bool = False,
) -> PartDataset:
    """One split of CUB-200-2011, cropped to a square around the annotated box.

    "test" is the official test split; a tenth of the official training images, chosen by name alone, is "val".

    Parameters
    ----------
    split : "train", "val" or "test".
    root : folder with ``images.txt`` and the rest; None for ``CUB_200_2011`` in ``$PARTLIB_DATA`` or ``./data``.
    image_size : side of the square images in pixels.
    classes : species to keep, counted from 1 as in ``classes.txt``; ``(1, 2, 3)`` for the paper's 001, 002, 003. None
        keeps all. Labels stay those of the full list (class id - 1).
    masks : folder of predicted masks that replace the annotated ones in the test split, with the names of
        ``segmentations/`` (``001.Black_footed_Albatross/..._18.png``); the other splits are not affected.
    padding : space around the box on each side, as a fraction of its width and height (0.05 in the release).
    jitter : training split only: each side of the box moves by up to this fraction, anew at every access (0.05 in the
        release). Above 0 the crops are not fixed and features of them cannot be cached.
    mirror : training split only: mirror half of the images, anew at every access, with left and right keypoints
        exchanged.
    hold_out : False leaves the images of "val" in "train" too, as the paper does, which has no validation split.
    reproduce_release : pixels and keypoints as in the release: bilinear sampling without antialiasing, value 1 of 255
        beyond the photograph, keypoints half a pixel of the photograph to the upper left. Default: Lanczos, the edge
        repeated, keypoints where they belong.

    Returns
    -------
    ArrayDataset, or :class:`CubCrops` with jitter or mirror. No parts; 15 keypoints in pixels of the crop, those
    invisible at its centre; ``boxes`` (N, 4) ``(left, top, width, height)`` of the annotated box in pixels of the crop;
    ``photos`` (N,) the paths of the photographs and ``squares`` (N, 3) ``(left, top, side)`` of the crops in them.
    ``label_names`` holds all classes. Masks: what at least half of the annotators marked.

    Raises
    ------
    DataError : a file is missing, broken or does not fit another; the message names it. Images whose mask covers less
        than 0.5 % of the crop are skipped with one warning that counts them, but never for their predicted mask.
    ConfigError : an option out of range.
    """
    _check_options(padding, jitter)
    root = data_dir() / FOLDER if root is None else Path(root)
    index = read_index(root)
    rows = _rows_of(index, split, classes, hold_out)
    mask_folder = find_segmentations(root) if masks is None or split != "test" else Path(masks)
    crops = CubCrops(index, rows, mask_folder, image_size, padding, reproduce_release)
    crops.keep_empty = masks is not None and split == "test"
    crops.require_files()
    if split == "train" and (jitter or mirror):
        crops.jitter, crops.mirror, crops.fixed_crop = jitter, mirror, False
        return crops
    prepared = crops.prepare()
    prepared.warn_skipped()
    return crops.dataset(prepared, split)


def _check_options(padding: float, jitter: float) -> None:
    if not 0 <= padding <= 1:
        raise ConfigError(f"padding is {padding}; expected a fraction between 0 and 1 of the box's sides")
    if not 0 <= jitter <= 0.25:
        raise ConfigError(f"jitter is {jitter}; expected a fraction between 0 and 0.25 of the box's sides")


def _rows_of(index: CubIndex, split: str, classes: Sequence[int] | None, hold_out: bool) -> list[int]:
    """Rows of ``index`` in this split and these classes."""
    wanted = None if classes is None else {int(c) - 1 for c in classes}
    if wanted is not None and not (wanted and wanted <= set(range(len(index.class_names)))):
        raise ConfigError(f"classes is {tuple(classes or ())}; expected numbers from 1 to {len(index.class_names)}")

    def belongs(row: int) -> bool:
        if wanted is not None and index.labels[row] not in wanted:
            return False
        if split == "train" and not hold_out:
            return bool(index.training[row])
        return (split_of(index.name(row), VAL_PERCENT, 0) if index.training[row] else "test") == split

    rows = [row for row in range(len(index.files)) if belongs(row)]
    if not rows:
        raise DataError(
            f"{index.root}: none of its {len(index.files)} images is in the {split!r} split"
            + (f" and in classes {tuple(classes)}" if classes else "")
            + "; add images, or load another split"
        )
    return rows


class CubCrops(PartDataset):
    """Crops of CUB made from the original files at every access, with a random box and mirror image where asked for.

    Random numbers come from PyTorch's global generator, so ``torch.manual_seed`` and the workers of a ``DataLoader``
    decide them.
    """

    name, split = "cub", "train"
    keypoint_names = KEYPOINT_NAMES
    jitter, mirror = 0.0, False
    keep_empty = False  # predicted masks may be empty; leaving such images out would flatter the scores

    def __init__(
        self, index: CubIndex, rows: list[int], masks: Path, image_size: int, padding: float, reproduce_release: bool
    ) -> None:
        self.index, self.rows, self.masks = index, rows, masks
        self.image_size, self.padding, self.reproduce_release = image_size, padding, reproduce_release
        self.root, self.label_names = index.root, index.class_names

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> Sample:
        if not -len(self) <= item < len(self):
            raise IndexError(f"sample {item} of {len(self)}")
        row = self.rows[item]
        square = square_box(perturb_box(self.index.boxes[row], self.padding, self.jitter, torch.rand(4).numpy()))
        crop = self.crop(row, square)
        image = torch.from_numpy(crop["image"].copy()).permute(2, 0, 1).float() / 255  # (3, S, S)
        foreground = torch.from_numpy(crop["mask"].copy()).float()[None] / 255  # (1, S, S)
        keypoints = torch.from_numpy(self.keypoints(row, square)).float()  # (15, 3)
        if self.mirror and torch.rand(()) < 0.5:
            image, foreground, keypoints = image.flip(2), foreground.flip(2), keypoints[list(cub_crop.MIRRORED)]
            keypoints[:, 0] = self.image_size - 1 - keypoints[:, 0]
        return Sample(image, foreground, None, keypoints, int(self.index.labels[row]), self.index.name(row))

    def subset(self, indices: Sequence[int]) -> "CubCrops":
        """The images at ``indices``, in that order."""
        part = copy(self)
        part.rows = [self.rows[i] for i in indices]
        return part

    def fingerprint(self) -> str:
        return f"cub-random-{self.index.root}-{len(self)}-{self.padding}-{self.jitter}-{self.mirror}"

    def square(self, row: int) -> Square:
        """The fixed square of an image: its box with the padding, without jitter."""
        return square_box(perturb_box(self.index.boxes[row], self.padding))

    def crop(self, row: int, square: Square) -> Rows:
        """``image`` (S, S, 3) and ``mask`` (S, S) of 0 or 255, both uint8, of one square of one photograph."""
        photo = read_photo(self.index.image(row))
        mask = read_mask(self.mask_path(row), self.index.image(row), photo.shape[:2])
        self._check_places(row, photo.shape[:2])
        cut_mask, size = crop_square(mask, square, "zero"), self.image_size
        if self.reproduce_release:
            image = resize_bilinear(cub_crop.release_crop(photo, square), size, size).astype(np.uint8)
            small = resize_nearest(cut_mask, size, size)
        else:
            image, small = resize_photo(crop_square(photo, square, "edge"), size), resize_mask(cut_mask, size)
        return {"image": image, "mask": small.astype(np.uint8) * 255}

    def keypoints(self, row: int, square: Square) -> np.ndarray:
        """Keypoints (15, 3) of one image in the pixels of a crop of it."""
        keypoints = self.index.keypoints[row]
        if not self.reproduce_release:
            return cub_crop.crop_keypoints(keypoints, square, self.image_size)
        normalised = cub_crop.normalise_keypoints(keypoints, square)
        normalised[:, :2] = (normalised[:, :2] + 1) / 2 * self.image_size  # [-1, 1] -> pixels
        return normalised

    def mask_path(self, row: int) -> Path:
        return self.masks / Path(self.index.files[row]).with_suffix(".png")

    def require_files(self) -> None:
        """Raise DataError for the first photograph or mask that is not there."""
        if not self.masks.is_dir():
            raise DataError(f"masks: {self.masks.absolute()} is not a folder; expected one with a .png for each image")
        for row in self.rows:
            if not self.index.image(row).is_file():
                raise DataError(
                    f"{self.index.image(row)} is missing but listed in images.txt; download the data set again, or "
                    "remove its line to leave it out"
                )
            if not self.mask_path(row).is_file():
                raise DataError(
                    f"{self.mask_path(row)} is missing: the mask of {self.index.files[row]}; add it (0 background, 255 "
                    "bird), or remove the image from images.txt to leave it out"
                )

    def prepare(self) -> Prepared:
        """The fixed crops in the cache, made now unless they are there."""
        names = [self.index.name(row) for row in self.rows]

        def make(item: int) -> Rows | None:
            crop = self.crop(self.rows[item], self.square(self.rows[item]))
            return crop if self.keep_empty or (crop["mask"] > 0).mean() >= MIN_FOREGROUND else None

        options = {
            "size": self.image_size,
            "padding": self.padding,
            "release": self.reproduce_release,
            "masks": str(self.masks.absolute()),
        }
        options |= {"keep_empty": True} if self.keep_empty else {}
        files = [self.index.root / name for name in LISTS]
        files += [file for row in self.rows for file in (self.index.image(row), self.mask_path(row))]
        return prepare_once("cub", names, files, options, make)

    def dataset(self, prepared: Prepared, split: str) -> ArrayDataset:
        """The arrays of a cache with the keypoints, labels and boxes of their images."""
        row_of = {self.index.name(row): row for row in self.rows}
        rows = [row_of[name] for name in prepared.names]
        squares = [self.square(row) for row in rows]
        dataset = prepared.dataset(
            "cub",
            split,
            range(len(rows)),
            root=self.root,
            label_names=self.label_names,
            keypoint_names=KEYPOINT_NAMES,
            photos=np.array([str(self.index.image(row)) for row in rows]),
            squares=np.array(squares),
            boxes=np.array([self._box(row, square) for row, square in zip(rows, squares, strict=True)], np.float32),
        )
        dataset.keypoints = np.array([self.keypoints(r, s) for r, s in zip(rows, squares, strict=True)], np.float32)
        dataset.labels = self.index.labels[rows]
        return dataset

    def _box(self, row: int, square: Square) -> np.ndarray:
        """Annotated box in the pixels of the crop, ``(left, top, width, height)``."""
        x0, y0, x1, y1 = self.index.boxes[row]
        left, top, side = square
        return np.array([x0 - left, y0 - top, x1 - x0 + 1, y1 - y0 + 1]) * self.image_size / side

    def _check_places(self, row: int, shape: tuple[int, ...]) -> None:
        """Box and visible keypoints must lie in the photograph; one pixel of rounding is allowed."""
        height, width = shape
        x0, y0, x1, y1 = self.index.boxes[row]
        if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
            raise DataError(
                f"{self.index.root / 'bounding_boxes.txt'}: the box of {self.index.files[row]} lies outside its "
                f"{width} x {height} photograph; use the original photograph, or correct the box"
            )
        for keypoint, (x, y, visible) in zip(KEYPOINT_NAMES, self.index.keypoints[row], strict=True):
            if visible and not (-1 <= x <= width and -1 <= y <= height):
                raise DataError(
                    f"{self.index.root / 'parts' / 'part_locs.txt'}: keypoint {keypoint!r} of {self.index.files[row]} "
                    f"is at ({x + 1:g}, {y + 1:g}), outside its {width} x {height} photograph; correct it, or set its "
                    "visible to 0"
                )
