"""The files of PASCAL-Part: image lists of VOC 2010, the part annotations in MATLAB files, and what an object is.

::

    VOCdevkit/
      VOC2010/JPEGImages/2008_000008.jpg ...
      VOC2010/ImageSets/Main/car_train.txt, car_val.txt ...   image, and 1, 0 (difficult) or -1 (shows no car)
      Annotations_Part/2008_000008.mat ...                    also found inside VOC2010/ or trainval/
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from partlib.errors import DataError

_CAR = (
    *("backside", "bliplate", "door", "fliplate", "frontside", "headlight", "leftmirror", "leftside", "rightmirror"),
    *("rightside", "roofside", "wheel", "window"),
)
_CAT = (
    *("head", "lbleg", "lbpa", "lear", "leye", "lfleg", "lfpa", "neck", "nose", "rbleg", "rbpa", "rear", "reye"),
    *("rfleg", "rfpa", "tail", "torso"),
)
_HORSE = (
    *("head", "lbho", "lblleg", "lbuleg", "lear", "leye", "lfho", "lflleg", "lfuleg", "muzzle", "neck", "rbho"),
    *("rblleg", "rbuleg", "rear", "reye", "rfho", "rflleg", "rfuleg", "tail", "torso"),
)
_COW = tuple(sorted({*_HORSE, "lhorn", "rhorn"} - {"lbho", "rbho", "lfho", "rfho"}))
# Parts of each category in alphabetical order, which is the order of the release's labels 1, 2, ...; the numbers of
# repeated parts (wheel_1, wheel_2) are dropped. Boat, chair, dining table and sofa have outlines only.
PART_NAMES: dict[str, tuple[str, ...]] = {
    "aeroplane": ("body", "engine", "lwing", "rwing", "stern", "tail", "wheel"),
    "bicycle": ("bwheel", "chainwheel", "fwheel", "handlebar", "headlight", "saddle"),
    "bird": (
        *("beak", "head", "leye", "lfoot", "lleg", "lwing", "neck", "reye", "rfoot", "rleg", "rwing", "tail", "torso"),
    ),
    "bottle": ("body", "cap"),
    "bus": _CAR,
    "car": _CAR,
    "cat": _CAT,
    "cow": _COW,
    "dog": tuple(sorted((*_CAT, "muzzle"))),
    "horse": _HORSE,
    "motorbike": ("bwheel", "fwheel", "handlebar", "headlight", "saddle"),
    "person": (
        *("hair", "head", "lear", "lebrow", "leye", "lfoot", "lhand", "llarm", "llleg", "luarm", "luleg", "mouth"),
        *("neck", "nose", "rear", "rebrow", "reye", "rfoot", "rhand", "rlarm", "rlleg", "ruarm", "ruleg", "torso"),
    ),
    "pottedplant": ("plant", "pot"),
    "sheep": _COW,
    "train": (
        *("cbackside", "cfrontside", "cleftside", "coach", "crightside", "croofside", "hbackside", "head"),
        *("headlight", "hfrontside", "hleftside", "hrightside", "hroofside"),
    ),
    "tvmonitor": ("screen",),
}
HOW_TO_GET = (
    "download VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ and trainval.tar.gz of "
    "PASCAL-Part from http://roozbehm.info/pascal-parts/pascal-parts.html, and unpack both so that one folder holds "
    "VOC2010/JPEGImages, VOC2010/ImageSets and Annotations_Part"
)


@dataclass(frozen=True)
class PascalObject:
    """One object of an image.

    category : class of VOC.
    mask : (H, W) bool.
    parts : names as in the file ("wheel_1") with masks (H, W) bool, in the order of the file; empty for many objects.
    """

    category: str
    mask: np.ndarray
    parts: tuple[tuple[str, np.ndarray], ...]

    def box(self) -> tuple[int, int, int, int]:
        """``(left, top, width, height)`` around the mask in pixels; zeros where it is empty."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return 0, 0, 0, 0
        return int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

    def has_parts(self) -> bool:
        """Whether a pixel of a part is annotated."""
        return any(bool(mask.any()) for _, mask in self.parts)

    def box_area(self) -> float:
        """Area of the box as a fraction of the image."""
        return self.box()[2] * self.box()[3] / self.mask.size


def paint_parts(parts: Sequence[tuple[str, np.ndarray]], names: Sequence[str], shape: tuple[int, ...]) -> np.ndarray:
    """One label map from overlapping part masks: where they overlap, the part listed first wins.

    Parameters
    ----------
    parts : names as in the files, with masks (H, W).
    names : the parts 1, 2, ... without numbers; "wheel_1" and "wheel_2" both become "wheel".
    shape : (H, W).

    Returns
    -------
    (H, W) uint8, 0 where there is no part.

    Raises
    ------
    DataError : a part that is not in ``names``, or a mask of another shape.
    """
    labels = np.zeros(shape, np.uint8)
    for name, mask in reversed(parts):
        base = re.sub(r"_\d+$", "", name)
        if base not in names:
            raise DataError(f"part {name!r} is unknown; expected one of {', '.join(names)}")
        if mask.shape != tuple(shape):
            raise DataError(f"the mask of part {name!r} has shape {mask.shape}, its object {tuple(shape)}")
        labels[mask > 0] = names.index(base) + 1
    return labels


def read_objects(path: Path) -> list[PascalObject]:
    """The objects of one annotation file.

    Raises
    ------
    DataError : the file is missing, cut short, or not an annotation of PASCAL-Part.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is missing: the part annotation of a listed image; {HOW_TO_GET}, or remove the image from its list"
        )
    # scipy's reader meets a damaged file in whichever step it happens to be, with no common type of error; the fields
    # of another file are missing in as many ways.
    try:
        objects = loadmat(path)["anno"][0, 0]["objects"].ravel()
        return [_object(entry) for entry in objects]
    except Exception as error:
        raise DataError(
            f"{path}: expected a PASCAL-Part annotation (anno.objects with class, mask and parts), but it cannot be "
            f"read ({type(error).__name__}: {error}); it may be cut short: unpack or download it again"
        ) from error


def _object(entry: np.void) -> PascalObject:
    mask = np.asarray(entry["mask"]) > 0
    if mask.ndim != 2 or not mask.size:
        raise ValueError(f"an object has a mask of shape {mask.shape}")
    # An object without parts has an empty matrix in their place.
    parts = tuple((_text(part["part_name"]), np.asarray(part["mask"]) > 0) for part in entry["parts"].ravel())
    return PascalObject(_text(entry["class"]), mask, parts)


def _text(cell: np.ndarray) -> str:
    return str(cell.ravel()[0])


def annotation_folder(root: Path) -> Path:
    """Folder of the part annotations under ``root``."""
    for folder in (root, root / "VOC2010", root / "trainval"):
        if (folder / "Annotations_Part").is_dir():
            return folder / "Annotations_Part"
    raise DataError(f"{root / 'Annotations_Part'} is missing; {HOW_TO_GET}")


def read_list(root: Path, category: str, part: str) -> list[str]:
    """Images of VOC's list ``part`` ("train" or "val") that show the category.

    Raises
    ------
    DataError : the data set is not there, or the list is missing or malformed.
    """
    if not root.is_dir():
        raise DataError(f"PASCAL-Part is not at {root.absolute()}; {HOW_TO_GET}")
    path = root / "VOC2010" / "ImageSets" / "Main" / f"{category}_{part}.txt"
    if not path.is_file():
        raise DataError(f"{path} is missing; {HOW_TO_GET}")
    names = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if fields and (len(fields) != 2 or fields[1] not in ("-1", "0", "1")):
            raise DataError(f"{path}: line {number} is {line!r}; expected an image and 1, 0 or -1: download it again")
        if fields and fields[1] != "-1":
            names.append(fields[0])
    return names
