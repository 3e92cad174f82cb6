"""DeepFashion In-shop Clothes Retrieval: photographs of people with 15 classes of clothing and body per pixel.

Source: Liu, Luo, Qiu, Wang, Tang, "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich
Annotations", CVPR 2016. The paper trains on the foreground and scores the parts against the classes.
data/README.md shows the folder, and how to get it.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from partlib.data import photos, reading
from partlib.data.base import ArrayDataset
from partlib.errors import DataError, brief

FOLDER = "DeepFashion/In-shop Clothes Retrieval Benchmark"
LISTS = {"train": ["train"], "val": ["train"], "test": ["query", "gallery"]}
PALETTE = photos.read_table("deepfashion_palette.json")  # class -> color, ascending, in the order of the labels
PART_NAMES = tuple(PALETTE)[1:]
COLORS = np.array(list(PALETTE.values()), np.uint8)  # (16, 3)
URL = "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html"
HOW_TO_GET = f"ask for access at {URL}, and unpack lists and img_highres_seg.zip as data/README.md shows"


def resize_whole(photo: np.ndarray, mask: np.ndarray, labels: np.ndarray, size: int) -> photos.Rows:
    """A whole photograph made square: its edge is repeated; labels keep a foreground of their own beside ``mask``."""
    square = photos.square_of(labels.shape)
    rows = photos.crop_and_resize(photo, labels > 0, labels, square, size)
    return rows | {"masks": photos.resize_mask(photos.crop_square(mask, square, "zero"), size).astype(np.uint8) * 255}


def load(
    split: str,
    root: Path,
    image_size: int,
    *,
    masks: str | Path | None = None,  # predicted masks for "test": img_highres/WOMEN/.../02_1_front.png; parts stay
    hold_out: bool = True,  # "val" is a tenth of "train", chosen by name; False leaves it in both, as the paper does
    resize: Callable[..., photos.Rows] = resize_whole,  # another way of resizing: paper.release_data
) -> ArrayDataset:
    """One split of DeepFashion In-shop, whole photographs made square; "test" is the query and gallery lists."""
    folder = root / "Anno" / "segmentation"
    lists = [folder / f"DeepFashion_segmentation_{name}.json" for name in LISTS[split]]
    names = photos.names_in(split, sorted({name for path in lists for name in read_list(path)}), hold_out)
    if not names:
        raise DataError(f"{lists[0]}: no image of it is in the {split!r} split; add images, or load another split")
    predicted = Path(masks) if masks is not None and split == "test" else None

    def paths(name: str) -> list[Path]:
        """Photograph, segmentation and, where it is replaced, mask of one image."""
        own = [folder / f"{name}.jpg", folder / f"{name}_segment.png"]
        return own + ([predicted / f"{name}.png"] if predicted else [])

    def make(index: int) -> photos.Rows | None:
        photo_path, path, *mask_path = paths(names[index])
        photo, labels = reading.read_photo(photo_path), read_segmentation(path)
        reading.check_size(path, labels.shape, photo_path, photo.shape[:2])
        mask = reading.read_votes(mask_path[0], photo_path, labels.shape) if mask_path else labels > 0
        # A predicted mask may be empty: leaving such images out would flatter the scores.
        return resize(photo, mask, labels, image_size) if predicted or mask.mean() >= photos.MIN_FOREGROUND else None

    files = [*lists, *(file for name in names for file in paths(name))]
    photos.require(files, f"{HOW_TO_GET}, or take the image out of its list")
    options = {"size": image_size, "resize": resize.__name__, "masks": predicted and str(predicted.absolute())}
    known = {"root": root, "part_names": PART_NAMES, "label_names": ("MEN", "WOMEN")}
    dataset = photos.prepare_once("deepfashion", split, names, files, options, make, **known)
    dataset.labels = np.array([int("WOMEN" in PurePosixPath(name).parts) for name in dataset.names])
    dataset.photos = np.array([str(folder / f"{name}.jpg") for name in dataset.names])
    return dataset


def read_list(path: Path) -> list[str]:
    """Images of a JSON list, as paths below ``Anno/segmentation`` without suffix, of the large copies."""
    photos.require([path], HOW_TO_GET)
    try:
        files = [PurePosixPath(image["file_name"]) for image in json.loads(path.read_text(encoding="utf-8"))["images"]]
    except (ValueError, KeyError, TypeError) as error:
        wanted = 'JSON with {"images": [{"file_name": ...}, ...]}'
        raise DataError(f"{path}: expected {wanted}, found {brief(error)}; download it again") from error
    below = [file.parts[file.parts[0] in ("img", "img_highres") :] for file in files]
    return [PurePosixPath("img_highres", *steps).with_suffix("").as_posix() for steps in below]


def read_segmentation(path: Path) -> np.ndarray:
    """Class of every pixel, (H, W) uint8 in 0..15, from a PNG of exactly the 16 colors of the palette."""
    colors = reading.read_photo(path)
    packed, known = (rgb.astype(int) @ [1 << 16, 1 << 8, 1] for rgb in (colors, COLORS))  # (H, W), (16,) ascending
    labels = np.searchsorted(known, packed).clip(max=len(known) - 1)
    foreign = np.argwhere(known[labels] != packed)
    if len(foreign):
        found = f"color {tuple(colors[tuple(foreign[0])].tolist())} is not one of the {len(known)} of the palette"
        raise DataError(f"{path}: {found}; use the original PNG, not a resized copy")
    return labels.astype(np.uint8)
