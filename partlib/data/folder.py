"""A folder of one's own images, with masks of the object and, for evaluation, label maps of its parts.

::

    root/images/*.jpg ...   or the images right in root; .jpg .jpeg .png .webp .bmp .tif .tiff
    root/masks/<name>.png   one per image, of its size, 0 where there is no object and one other value where it is
    root/parts/<name>.png   optional, one per image: 0 = no part, 1, 2, ... = the parts
    root/parts.txt          optional: the names of the parts 1, 2, ..., one per line
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from partlib.data.base import ArrayDataset
from partlib.data.prepare import Rows, check_margin, prepare_crop, prepare_once, read_photo, split_of
from partlib.errors import ConfigError, DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def load(
    split: str,
    root: Path | None,
    image_size: int,
    *,
    masks: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    margin: float = 0.05,
) -> ArrayDataset:
    """One split of a folder of images, cropped to the object; see the module for the layout.

    The split of an image depends on its name alone (see :func:`partlib.data.prepare.split_of`), so adding images moves
    none. In a small folder that can leave a split empty; it then holds every image, with a warning that nothing is
    held out. With ``val_fraction=0, test_fraction=0`` the train split holds every image.

    Parameters
    ----------
    split : "train", "val" or "test".
    root : the folder; required.
    image_size : side of the square images in pixels.
    masks : folder of the masks; None for ``root/masks``. Without it the whole image counts as the object, with a
        warning: the method divides a foreground into parts and does not find it.
    val_fraction, test_fraction : shares of the images, in whole percent.
    margin : space around the object on each side, as a fraction of the longer side of its box.

    Returns
    -------
    ArrayDataset; ``parts`` None without label maps, else 0 outside the mask. ``skipped`` names the images without an
    object, all splits together.

    Raises
    ------
    ConfigError : no root, or fractions that do not leave a share for training.
    DataError : a file is missing, broken, not binary (masks) or of another size than its image; the message names it.
        Images with less than 0.5 % of foreground are skipped with one warning that counts them.
    """
    if root is None:
        raise ConfigError('load_dataset("folder") needs root: the folder with your images')
    check_margin(margin)
    val, test = _percent("val_fraction", val_fraction), _percent("test_fraction", test_fraction)
    if val + test >= 100:
        raise ConfigError(f"val_fraction {val_fraction} and test_fraction {test_fraction} leave no share for training")
    layout = find_files(Path(root), None if masks is None else Path(masks))
    order = sorted(layout.images, key=lambda name: (split_of(name, val, test), name))  # each split is one run of rows
    if not layout.masks and not layout.parts:
        warnings.warn(
            f"{root} has no masks: the whole image counts as the object. The method divides a given foreground and "
            f"does not find it; put masks into {Path(root) / 'masks'}",
            stacklevel=3,
        )

    def make(index: int) -> Rows | None:
        return _prepare(layout, order[index], margin, image_size)

    files = [f for name in order for f in (layout.images[name], layout.masks.get(name), layout.parts.get(name)) if f]
    prepared = prepare_once(
        "folder", order, files, {"size": image_size, "margin": margin, "layout": layout.key()}, make
    )
    prepared.warn_skipped()
    chosen = [i for i, name in enumerate(prepared.names) if split_of(name, val, test) == split]
    if not chosen:
        chosen = list(range(len(prepared.names)))
        warnings.warn(
            f"no image of {root} falls into the {split!r} split, so it holds all {len(chosen)}: nothing is held out",
            stacklevel=3,
        )
    part_names = layout.part_names
    if layout.parts and not part_names:
        part_names = tuple(f"part {i}" for i in range(1, int(prepared.arrays["parts"].max()) + 1))
    return prepared.dataset("folder", split, chosen, root=layout.root, label_names=("object",), part_names=part_names)


def _percent(option: str, fraction: float) -> int:
    if not 0 <= fraction < 1:
        raise ConfigError(f"{option} is {fraction}; expected a fraction from 0 to below 1")
    return round(100 * fraction)


@dataclass(frozen=True)
class Layout:
    """The files of a folder data set, each as {name: path}; ``masks`` and ``parts`` empty where there are none."""

    root: Path
    images: dict[str, Path]
    masks: dict[str, Path]
    parts: dict[str, Path]
    part_names: tuple[str, ...]

    def key(self) -> list:
        """What preparation depends on beside the contents of the files."""
        return [bool(self.masks), bool(self.parts), list(self.part_names)]


def find_files(root: Path, masks: Path | None = None) -> Layout:
    """The images under ``root`` with their masks and label maps.

    Raises
    ------
    DataError : no folder, no images, two images of one name, or an image without its mask or label map.
    """
    if not root.is_dir():
        raise DataError(f"{root.absolute()} is not a folder; expected one with images/ and, better, masks/")
    if masks is not None and not masks.is_dir():
        raise DataError(f"masks: {masks.absolute()} is not a folder; expected one with a mask for each image")
    folder = root / "images" if (root / "images").is_dir() else root
    images = _by_name(folder)
    if not images:
        raise DataError(f"{folder.absolute()} holds no images; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    names_file = root / "parts.txt"
    lines = names_file.read_text(encoding="utf-8").splitlines() if names_file.exists() else []
    return Layout(
        root=root,
        images=images,
        masks=_partners(images, masks or root / "masks", "mask"),
        parts=_partners(images, root / "parts", "label map"),
        part_names=tuple(line.strip() for line in lines if line.strip()),
    )


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem].name} have the same name; rename one, names must be unique")
        found[path.stem] = path
    return found


def _partners(images: dict[str, Path], folder: Path, what: str) -> dict[str, Path]:
    """The file in ``folder`` for every image, {} where there is no such folder."""
    if not folder.is_dir():
        return {}
    found = _by_name(folder)
    missing = [name for name in images if name not in found]
    if missing:
        more = f", nor have {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{images[missing[0]]} has no {what}{more}; expected {folder / (missing[0] + '.png')}: add it, or move "
            "images without one out of the folder"
        )
    return {name: found[name] for name in images}


def read_values(path: Path, image: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Pixel values of a mask or label map, (H, W) integers; ``shape`` is the (H, W) of its ``image``, upright.

    Raises
    ------
    DataError : not a readable image, in colour, or of another size than the image.
    """
    try:
        with Image.open(path) as file:
            values = np.asarray(ImageOps.exif_transpose(file))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded ({error}); it may be cut short: save it again") from error
    if values.ndim == 3:
        colours = values[..., : 3 if values.shape[2] >= 3 else 1]  # (H, W, 3 or 1), without transparency
        if (colours != colours[..., :1]).any():
            raise DataError(f"{path}: expected one value per pixel, found colours; save it as a grey or indexed PNG")
        values = colours[..., 0]  # (H, W)
    if values.shape != shape:
        raise DataError(
            f"{path}: is {values.shape[1]} x {values.shape[0]} pixels, its image {image.name} is "
            f"{shape[1]} x {shape[0]} (turned upright by its EXIF orientation); expected the same size"
        )
    return values


def read_mask(path: Path, image: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A binary mask, (H, W) bool, true where the value is not 0.

    Raises
    ------
    DataError : as :func:`read_values`, and where the values are not 0 and at most one other.
    """
    values = read_values(path, image, shape)
    found = np.unique(values)
    if np.count_nonzero(found) > 1 or np.isnan(found).any():
        listed = ", ".join(str(v) for v in found[:6]) + (", ..." if len(found) > 6 else "")
        raise DataError(
            f"{path}: the mask is not binary: {len(found)} values ({listed}); expected 0 and one other, such as 255: "
            "threshold it and save it as PNG (JPEG blurs edges)"
        )
    return values != 0


def _prepare(layout: Layout, name: str, margin: float, size: int) -> Rows | None:
    """Read, check, crop and resize one image; None where it has no object."""
    image = layout.images[name]
    photo = read_photo(image)
    shape = photo.shape[:2]
    labels = None
    if name in layout.parts:
        labels = _read_labels(layout.parts[name], image, shape, len(layout.part_names) or 255)
    if name in layout.masks:
        mask = read_mask(layout.masks[name], image, shape)
    elif labels is not None:
        mask = labels > 0
    else:
        mask, margin = np.ones(shape, bool), 0.0  # there is nothing beyond the image to show around it
    return prepare_crop(photo, mask, labels, margin, size)


def _read_labels(path: Path, image: Path, shape: tuple[int, ...], highest: int) -> np.ndarray:
    """A label map, (H, W) uint8 in 0..``highest``."""
    values = read_values(path, image, shape)
    if values.min() < 0 or values.max() > highest or values.dtype.kind == "f":
        raise DataError(
            f"{path}: found labels from {values.min()} to {values.max()}; expected whole numbers from 0 to {highest} "
            "(the lines of parts.txt, at most 255)"
        )
    return values.astype(np.uint8)
