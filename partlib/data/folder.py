"""A folder of one's own images, with masks of the object and, for evaluation, label maps of its parts.

::

    root/images/*.jpg ...   or the images right in root; .jpg .jpeg .jfif .png .webp .gif .bmp .tif .tiff .heic .avif
    root/masks/<name>.png   one per image, of its size, 0 where there is no object and one other value where it is;
                            or <name>_mask.png beside the images
    root/parts/<name>.png   optional, one per image: 0 = no part, 1, 2, ... = the parts (255: none, without parts.txt)
    root/parts.txt          optional: the names of the parts 1, 2, ..., one per line
"""

import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from partlib.data import photos, reading
from partlib.data.base import ArrayDataset
from partlib.errors import ConfigError, DataError, listed

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", *reading.HEIF)
OWN = ("images", "masks", "parts", "parts.txt")  # what may lie beside images
MASK_ENDS = ("_mask", "-mask", ".mask")  # of the names of masks that lie beside their images


def load(
    split: str,
    root: Path | None,
    image_size: int,
    *,
    masks: str | Path | None = None,  # their folder, None for root/masks; without one the whole image is the object
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    margin: float = 0.05,  # around the object, as a fraction of the longer side of its box
) -> ArrayDataset:
    """One split of a folder of images, cropped to the object; see the module for the layout.

    The name of an image alone decides its split. A split that this leaves empty holds every image, with a warning.
    """
    if root is None:
        raise ConfigError("data set folder needs its folder: give --root FOLDER, or root= in Python")
    photos.check_fraction("margin", margin)
    val, test = (round(100 * f) for f in (val_fraction, test_fraction))
    if min(val, test) < 0 or val + test >= 100:
        raise ConfigError(f"val_fraction {val_fraction} and test_fraction {test_fraction} leave no share for training")
    mask_folder = root / "masks" if masks is None else Path(masks)
    for what, folder in (("root", root), ("masks", root if masks is None else mask_folder)):
        if not folder.is_dir():
            raise DataError(f"{what}: {folder.absolute()} is not a folder; expected the one of your files")
    place = root / "images" if (root / "images").is_dir() else root
    images, beside = with_masks(images_in(place))
    if not images:
        raise DataError(f"{root.absolute()} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    if beside and mask_folder.is_dir():
        found = f"{place}: has masks beside its images, such as {min(beside.values()).name}"
        raise DataError(f"{found}, and {mask_folder} too; remove one kind")
    mask_of = _complete(images, beside, "mask", place) if beside else _partners(images, mask_folder, "mask")
    labels_of = _partners(images, root / "parts", "label map")
    if not mask_of and not labels_of:
        remedy = f"the method divides a given foreground and does not find it; put masks into {root / 'masks'}"
        warnings.warn(f"{root} has no masks: the whole image counts as the object; {remedy}", stacklevel=3)
    lines = photos.read_lines(root / "parts.txt") if (root / "parts.txt").exists() else []
    part_names = tuple(line.strip() for line in lines if line.strip())
    highest = len(part_names) or 255
    splits = {name: photos.split_of(name, val, test) for name in images}
    order = sorted(images, key=lambda name: (splits[name], name))  # each split is one run of rows

    suspects: list[tuple[str, Path]] = []

    def make(index: int) -> photos.Rows | None:
        name = order[index]
        photo, full = reading.read_reduced(images[name])
        mask, labels = np.ones(photo.shape[:2], bool), None
        if labels_of:
            labels = reading.shrunk(reading.read_values(labels_of[name], images[name], full), mask.shape)
            if not part_names:
                labels = np.where(labels == reading.VOID, 0, labels)
            if labels.dtype.kind == "f" or labels.min() < 0 or labels.max() > highest:
                found = f"found labels from {labels.min()} to {labels.max()}"
                expected = f"whole numbers from 0 to {highest} (the lines of parts.txt, at most 255)"
                raise DataError(f"{labels_of[name]}: {found}; expected {expected}")
            labels = labels.astype(np.uint8)
            mask = labels > 0
        if mask_of:
            given = reading.read_mask(mask_of[name], images[name], full)
            suspects.extend((kind, mask_of[name]) for kind in reading.suspicions(given, mask_of[name], images[name]))
            mask = reading.shrunk(given, mask.shape)
        around = margin if mask_of or labels_of else 0.0  # there is nothing to show around a whole image
        return photos.crop_object(photo, mask, labels, around, image_size, full)

    files = [found[name] for name in order for found in (images, mask_of, labels_of) if found]
    options = {"size": image_size, "margin": margin, "layout": [bool(mask_of), bool(labels_of), part_names]}
    dataset = photos.prepare_once("folder", split, order, files, options, make, root=root, label_names=("object",))
    reading.warn_of(suspects, stacklevel=3)
    dataset.photos = np.array([str(images[name]) for name in dataset.names])
    most = 0 if dataset.parts is None else int(dataset.parts.max())
    dataset.part_names = part_names or tuple(f"part {i}" for i in range(1, most + 1))
    chosen = np.array([splits[name] == split for name in dataset.names])
    if not chosen.any():
        what = f"no image of {root} falls into the {split!r} split, so it holds all {len(chosen)}"
        warnings.warn(f"{what}: nothing is held out", stacklevel=3)
    return dataset.subset(chosen | ~chosen.any())


def images_in(folder: Path) -> dict[str, Path]:
    """The images in ``folder`` by their names without suffix; what is left out is counted in one warning."""
    found: dict[str, Path] = {}
    files = sorted(p for p in folder.glob("[!.]*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir())
    others = [p for p in folder.glob("[!.]*") if p not in files and p.name not in OWN]
    if others:
        kinds = Counter("folders" if p.is_dir() else p.suffix or "files without suffix" for p in others)
        counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        warnings.warn(f"{folder}: left out are {counted}; read are {', '.join(IMAGE_SUFFIXES)}", stacklevel=4)
    for path in files:
        # an accent may be a letter's or a sign of its own, as the system that wrote the name has it
        name = unicodedata.normalize("NFC", path.stem)
        if name in found:
            remedy = f"rename one, names must be unique; a mask is called {name}_mask or lies in masks/"
            raise DataError(f"{path} and {found[name].name} have the same name; {remedy}")
        found[name] = path
    return found


def with_masks(found: dict[str, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images, and the masks that lie beside them, both by the names of the images: NAME_mask is the mask of NAME."""
    masks = {name[: -len(end)]: path for name, path in found.items() for end in MASK_ENDS if name.endswith(end)}
    masks = {name: path for name, path in masks.items() if name in found}
    return {name: path for name, path in found.items() if path not in masks.values()}, masks


def _partners(images: dict[str, Path], folder: Path, what: str) -> dict[str, Path]:
    """The file in ``folder`` for every image, {} where there is no such folder."""
    return _complete(images, images_in(folder), what, folder) if folder.is_dir() else {}


def _complete(images: dict[str, Path], found: dict[str, Path], what: str, folder: Path) -> dict[str, Path]:
    """``found`` if it has a file for every image."""
    missing = [name for name in images if name not in found]
    if missing:
        expected = f"expected {folder / missing[0]}.png: add it, or move images without one out of the folder"
        raise DataError(f"{images[missing[0]]} has no {what}, as {len(missing)} of {len(images)} images; {expected}")
    spare = sorted(path.name for name, path in found.items() if name not in images)
    if spare:
        left = f"{len(spare)} files belong to no image ({listed(spare)})"
        warnings.warn(f"{folder}: {left}; they are left out", stacklevel=5)
    return found
