"""PASCAL-Part: objects of PASCAL VOC 2010 with part masks, one category at a time.

Source: Chen, Mottaghi, Liu, Fidler, Urtasun, Yuille, "Detect What You Can: Detecting and Representing Objects using
Holistic Models and Body Parts", CVPR 2014. data/README.md shows the folder, and how to get it.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from partlib.data import photos, reading
from partlib.data.base import ArrayDataset
from partlib.distributed import progress_bar
from partlib.errors import ConfigError, DataError
from partlib.paths import cached_arrays, save_array

FOLDER = "VOCdevkit"
VERSION = 2  # raise it whenever this file finds other objects in the same annotations
MIN_AREA = {"train": 0.10, "val": 0.10, "test": 0.20}  # of the release
# Parts of each category in alphabetical order, which is the order of the release's labels 1, 2, ...; the numbers of
# repeated parts (wheel_1, wheel_2) are dropped. Boat, chair, dining table and sofa have outlines only.
PART_NAMES = {category: tuple(names.split()) for category, names in photos.read_table("pascal_parts.json").items()}
URLS = "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ and http://roozbehm.info/pascal-parts/pascal-parts.html"
HOW_TO_GET = f"download VOC 2010 and PASCAL-Part from {URLS}, and unpack both as data/README.md shows"


def load(
    split: str,
    root: Path,
    image_size: int,
    *,
    category: str = "car",  # class of VOC with parts, e.g. "car", "horse", "bird"
    min_area: float | None = None,  # smallest box as a fraction of the image; None for the release's MIN_AREA
    keep_without_parts: bool = False,  # True keeps them as images that are all background, as the release does
    crop: bool = True,  # a square around the object's box; False shows the whole photograph
    margin: float = 0.05,  # around the box, as a fraction of its longer side
    hold_out: bool = True,  # "val" is a tenth of "train", chosen by name; False leaves it in both, as the paper does
) -> ArrayDataset:
    """Every large enough object of one category, its foreground all its parts; VOC's val list is the "test" split."""
    least = MIN_AREA[split] if min_area is None else min_area
    photos.check_fraction("min_area", least)
    photos.check_fraction("margin", margin)
    if category not in PART_NAMES:
        raise ConfigError(f"category is {category!r}; expected one with parts: {', '.join(PART_NAMES)}")
    images = photos.names_in(split, read_list(root, category, "val" if split == "test" else "train"), hold_out)
    found = find_objects(root, category, images)
    large = found[found["area"] >= least]
    chosen = large if keep_without_parts else large[large["has_parts"]]
    if not len(chosen):
        what = f"no {category} with parts and a box of at least {least:.0%} of its image is in the {split!r} split"
        raise DataError(f"{root}: {what}; lower min_area, or load another split or category")
    if len(chosen) < len(large):
        skipped = f"skipped {len(large) - len(chosen)} of {len(large)} objects ({category}) without parts"
        warnings.warn(f"{skipped}; keep_without_parts=True keeps them as images that are all background", stacklevel=3)

    def make(index: int) -> photos.Rows:
        photo_path, path = _files(root, chosen["image"][index])
        entry, photo = read_objects(path)[chosen["number"][index]], reading.read_photo(photo_path)
        reading.check_size(path, entry.mask.shape, photo_path, photo.shape[:2])
        labels = paint_parts(entry.parts, PART_NAMES[category], entry.mask.shape, str(path))
        left, top, width, height = entry.box()
        side = round(max(width, height) * (1 + 2 * margin))
        around = (left + (width - side) // 2, top + (height - side) // 2, side)
        square = around if crop else photos.square_of(labels.shape)
        return photos.crop_and_resize(photo, labels > 0, labels, square, image_size)

    names = [f"{image}_{number}" for image, number in chosen[["image", "number"]].tolist()]
    files = [file for image in chosen["image"] for file in _files(root, image)]
    options = {"size": image_size, "category": category, "margin": margin if crop else None}
    known = {"root": root, "part_names": PART_NAMES[category], "label_names": (category,)}
    return photos.prepare_once("pascal-part", split, names, files, options, make, **known)


def _files(root: Path, image: str) -> tuple[Path, Path]:
    """Photograph and annotation."""
    return root / "VOC2010" / "JPEGImages" / f"{image}.jpg", root / "Annotations_Part" / f"{image}.mat"


def read_list(root: Path, category: str, part: str) -> list[str]:
    """Images of VOC's list ``part`` ("train" or "val") that show the category."""
    path = root / "VOC2010" / "ImageSets" / "Main" / f"{category}_{part}.txt"
    photos.require([path], HOW_TO_GET)
    rows = [line.split() for line in photos.read_lines(path) if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("-1", "0", "1"):  # shows none, or a difficult one, or one
            raise DataError(f"{path}: a row is {row}; expected an image and 1, 0 or -1: download it again")
    return [name for name, shows in rows if shows != "-1"]


def find_objects(root: Path, category: str, images: list[str]) -> np.ndarray:
    """The objects of one category in ``images``, in order: a table (N,) of image, number in it, area and has_parts."""
    files = [file for image in images for file in _files(root, image)]
    photos.require(files, f"{HOW_TO_GET}, or remove the image from its list")
    columns = [("image", f"U{max(map(len, images), default=1)}"), ("number", int), ("area", float), ("has_parts", bool)]

    def find(folder: Path) -> None:
        rows = []
        for image in progress_bar(images, f"reading {category} annotations", leave=False):
            for number, entry in enumerate(read_objects(_files(root, image)[1])):
                if entry.category == category:
                    area = np.prod(entry.box()[2:]) / entry.mask.size
                    rows.append((image, number, area, any(mask.any() for _, mask in entry.parts)))
        save_array(folder / "objects.npy", np.array(rows, columns))

    key = [VERSION, category, photos.stamps(files[1::2])]
    return cached_arrays("datasets/pascal-part-objects", key, find)["objects"]


@dataclass(frozen=True)
class PascalObject:
    """One object of an image: its class of VOC, its mask, and its parts in the order of the file, for many none."""

    category: str
    mask: np.ndarray  # (H, W) bool
    parts: list[tuple[str, np.ndarray]]  # names as in the file ("wheel_1") with masks (H, W) bool

    def box(self) -> tuple[int, int, int, int]:
        """``(left, top, width, height)`` around the mask in pixels; zeros where it is empty."""
        left, top, right, bottom = Image.fromarray(self.mask).getbbox() or (0, 0, 0, 0)
        return left, top, right - left, bottom - top


def read_objects(path: Path) -> list[PascalObject]:
    """The objects of one annotation file."""

    def read(mat: dict) -> list[PascalObject]:
        objects = []
        for entry in mat["anno"][0, 0]["objects"].ravel():
            # An object without parts has an empty matrix in their place.
            parts = [(str(p["part_name"].ravel()[0]), np.asarray(p["mask"]) > 0) for p in entry["parts"].ravel()]
            objects.append(PascalObject(str(entry["class"].ravel()[0]), np.asarray(entry["mask"]) > 0, parts))
        return objects

    return photos.read_mat(path, "a PASCAL-Part annotation", read)


def paint_parts(
    parts: Sequence[tuple[str, np.ndarray]], names: Sequence[str], shape: tuple[int, ...], source: str = "annotation"
) -> np.ndarray:
    """One label map (H, W) uint8 from overlapping part masks, the first of them on top; ``names``: parts 1, 2, ..."""
    labels = np.zeros(shape, np.uint8)
    for name, mask in reversed(parts):
        base = re.sub(r"_\d+$", "", name)  # "wheel_1" and "wheel_2" are both "wheel"
        if base not in names or mask.shape != tuple(shape):
            expected = f"expected {shape} and one of {', '.join(names)}: download it again"
            raise DataError(f"{source}: part {name!r} of shape {mask.shape} is unknown; {expected}")
        labels[mask > 0] = names.index(base) + 1
    return labels
