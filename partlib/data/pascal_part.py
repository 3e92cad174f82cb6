"""PASCAL-Part: objects of PASCAL VOC 2010 with part masks, one category at a time.

Source: Chen, Mottaghi, Liu, Fidler, Urtasun, Yuille, "Detect What You Can: Detecting and Representing Objects using
Holistic Models and Body Parts", CVPR 2014. The layout is described in :mod:`partlib.data.pascal_files`.
"""

import hashlib
import json
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from partlib.data.base import ArrayDataset
from partlib.data.pascal_files import PART_NAMES, annotation_folder, paint_parts, read_list, read_objects
from partlib.data.prepare import (
    Rows,
    check_margin,
    crop_square,
    prepare_once,
    read_photo,
    resize_labels,
    resize_mask,
    resize_photo,
    split_of,
)
from partlib.errors import ConfigError, DataError
from partlib.paths import cache_dir, data_dir

FOLDER = "VOCdevkit"
VERSION = 1  # raise it whenever this file finds other objects in the same annotations
VAL_PERCENT = 10  # of the images of VOC's training list, chosen by name
MIN_AREA = {"train": 0.10, "val": 0.10, "test": 0.20}  # of the release


@dataclass(frozen=True)
class Found:
    """An object as the index of a category keeps it.

    image : name of the photograph; number : place of the object in its annotation, from 0.
    left, top, width, height : its box in pixels; area : the box as a fraction of the image.
    has_parts : whether any part was annotated.
    """

    image: str
    number: int
    left: int
    top: int
    width: int
    height: int
    area: float
    has_parts: bool

    @property
    def name(self) -> str:
        return f"{self.image}_{self.number}"


def load(
    split: str,
    root: Path | None,
    image_size: int,
    *,
    category: str = "car",
    min_area: float | None = None,
    keep_without_parts: bool = False,
    crop: bool = True,
    margin: float = 0.05,
    hold_out: bool = True,
) -> ArrayDataset:
    """One split of one category of PASCAL-Part; every large enough object is a sample.

    VOC's val list is the "test" split; a tenth of the images of its train list, chosen by name alone, is "val".

    Parameters
    ----------
    split : "train", "val" or "test".
    root : folder that holds ``VOC2010`` and ``Annotations_Part``; None for ``VOCdevkit`` in ``$PARTLIB_DATA`` or
        ``./data``.
    image_size : side of the square images in pixels.
    category : class of VOC with parts, e.g. "car", "horse", "bird".
    min_area : smallest box of an object as a fraction of its image; None for the release's 0.10, and 0.20 in "test".
    keep_without_parts : the foreground is the union of the parts, so an object without any has none. False: these are
        left out with one warning that counts them. True: they stay as images that are all background, as in the
        release; an image without foreground teaches nothing but counts in scores that include the background.
    crop : a square around the object's box; False shows the whole photograph, as the release does.
    margin : space around the box on each side, as a fraction of its longer side.
    hold_out : False leaves the images of "val" in "train" too, as the paper does, which has no validation split.

    Returns
    -------
    ArrayDataset; ``part_names`` are those of the category in alphabetical order, left and right apart, numbers of
    repeated parts dropped.

    Raises
    ------
    ConfigError : a category without parts, or a fraction out of range.
    DataError : a list, photograph or annotation is missing, cut short or does not fit; the message names it.
    """
    least = _check_options(split, category, min_area, margin)
    root = data_dir() / FOLDER if root is None else Path(root)
    images = read_list(root, category, "val" if split == "test" else "train")
    if split == "val" or (split == "train" and hold_out):
        images = [name for name in images if split_of(name, VAL_PERCENT, 0) == split]
    large = [found for found in find_objects(root, category, images) if found.area >= least]
    chosen = large if keep_without_parts else [found for found in large if found.has_parts]
    if not chosen:
        raise DataError(
            f"{root}: no {category} with parts and a box of at least {least:.0%} of its image is in the {split!r} "
            "split; lower min_area, or load another split or category"
        )
    if len(chosen) < len(large):
        warnings.warn(
            f"skipped {len(large) - len(chosen)} of {len(large)} objects ({category}) without parts; "
            "keep_without_parts=True keeps them as images that are all background",
            stacklevel=3,
        )

    def make(index: int) -> Rows:
        return _prepare(root, category, chosen[index], image_size, margin if crop else None)

    files = [file for found in chosen for file in (_photo(root, found.image), _annotation(root, found.image))]
    options = {"size": image_size, "category": category, "margin": margin if crop else None}
    prepared = prepare_once("pascal-part", [found.name for found in chosen], files, options, make)
    return prepared.dataset(
        "pascal-part",
        split,
        range(len(chosen)),
        root=root,
        part_names=PART_NAMES[category],
        label_names=(category,),
    )


def _check_options(split: str, category: str, min_area: float | None, margin: float) -> float:
    """Smallest area of a box after checking all options."""
    if category not in PART_NAMES:
        raise ConfigError(f"category is {category!r}; expected one with parts: {', '.join(PART_NAMES)}")
    least = MIN_AREA[split] if min_area is None else min_area
    if not 0 <= least < 1:
        raise ConfigError(f"min_area is {min_area}; expected a fraction from 0 to below 1 of the image")
    check_margin(margin)
    return least


def _photo(root: Path, image: str) -> Path:
    return root / "VOC2010" / "JPEGImages" / f"{image}.jpg"


def _annotation(root: Path, image: str) -> Path:
    return annotation_folder(root) / f"{image}.mat"


def find_objects(root: Path, category: str, images: list[str]) -> list[Found]:
    """The objects of one category in ``images``, in order; read from the cache where the annotations are unchanged.

    Raises
    ------
    DataError : a photograph or annotation is missing, or an annotation is broken.
    """
    for image in images:
        if not _photo(root, image).is_file():
            raise DataError(f"{_photo(root, image)} is missing but listed; unpack VOCtrainval_03-May-2010.tar again")
        if not _annotation(root, image).is_file():
            read_objects(_annotation(root, image))  # raises the error that says what to do
    stamps = [(i, (s := _annotation(root, i).stat()).st_size, s.st_mtime_ns) for i in images]
    key = json.dumps([VERSION, category, stamps])
    file = cache_dir() / "datasets" / f"pascal-part-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if file.is_file():
        try:
            return [Found(**entry) for entry in json.loads(file.read_text())]
        except (ValueError, TypeError) as error:
            raise DataError(f"{file}: this cache is damaged ({error}); delete it, it will be made anew") from error
    found = []
    for image in tqdm(images, f"reading {category} annotations", leave=False):
        for number, entry in enumerate(read_objects(_annotation(root, image))):
            if entry.category == category:
                found.append(Found(image, number, *entry.box(), entry.box_area(), entry.has_parts()))
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.part")  # complete or not there at all
    draft.write_text(json.dumps([asdict(entry) for entry in found]))
    os.replace(draft, file)
    return found


def _prepare(root: Path, category: str, found: Found, size: int, margin: float | None) -> Rows:
    """Read, check, crop and resize one object; the whole photograph where ``margin`` is None."""
    path = _annotation(root, found.image)
    entry = read_objects(path)[found.number]
    photo = read_photo(_photo(root, found.image))
    if photo.shape[:2] != entry.mask.shape:
        raise DataError(
            f"{path}: the annotation is {entry.mask.shape[1]} x {entry.mask.shape[0]} pixels, its photograph is "
            f"{photo.shape[1]} x {photo.shape[0]}; expected the same size: use the original photograph"
        )
    try:
        labels = paint_parts(entry.parts, PART_NAMES[category], entry.mask.shape)
    except DataError as error:
        raise DataError(f"{path}, object {found.number + 1} ({category}): {error}; download it again") from error
    if margin is None:
        height, width = labels.shape
        side = max(height, width)
        square = (-((side - width) // 2), -((side - height) // 2), side)
    else:
        side = round(max(found.width, found.height) * (1 + 2 * margin))
        square = (found.left + (found.width - side) // 2, found.top + (found.height - side) // 2, side)
    cut = crop_square(labels, square, "zero")
    small = resize_mask(cut > 0, size)
    return {
        "image": resize_photo(crop_square(photo, square, "edge"), size),
        "mask": small.astype(np.uint8) * 255,
        "parts": resize_labels(cut, small, size),
    }


def download(destination: Path | None = None) -> Path:
    """The folder of the data set where it is; its two archives are fetched by hand, so an error says how.

    Raises
    ------
    DataError : the data set is not there.
    """
    destination = data_dir() / FOLDER if destination is None else Path(destination)
    read_list(destination, "car", "train")
    annotation_folder(destination)
    return destination
