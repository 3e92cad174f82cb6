"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes, 15 keypoints and masks, but no part masks.

Source: Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001, Caltech.
The paper trains on all species and reports keypoint errors for classes 001, 002, 003 and all (its table 1).

::

    CUB_200_2011/
      images.txt              image id, file under images/
      image_class_labels.txt  image id, class id
      train_test_split.txt    image id, 1 for training or 0 for testing
      bounding_boxes.txt      image id, x, y, width, height
      classes.txt             class id, name
      parts/parts.txt         keypoint id, name
      parts/part_locs.txt     image id, keypoint id, x, y, visible
      images/                 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg ...
      segmentations/          the same names, .png; a separate archive, beside or inside the folder

Ids and coordinates in the files count from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from partlib.data import fetch
from partlib.data.base import PartDataset, Sample
from partlib.data.photos import (
    MIN_FOREGROUND,
    Rows,
    Square,
    check_fraction,
    crop_and_resize,
    prepare_once,
    read_photo,
    read_votes,
    split_of,
)
from partlib.errors import ConfigError, DataError
from partlib.paths import data_dir

FOLDER = "CUB_200_2011"
ARCHIVES = [  # address, SHA-256, folder inside; the large one first, into which the masks go
    (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        *("0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081", ""),
    ),
    (
        "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz",
        *("dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f", "segmentations"),
    ),
]
KEYPOINT_NAMES = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape"),
    *("right eye", "right leg", "right wing", "tail", "throat"),
)
MIRRORED = [0, 1, 2, 3, 4, 5, 10, 11, 12, 9, 6, 7, 8, 13, 14]  # the keypoints when left and right change places
LISTS = (
    *("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt"),
    *("parts/parts.txt", "parts/part_locs.txt"),
)
VAL_PERCENT = 10  # of the official training images, chosen by name


@dataclass(frozen=True)
class CubIndex:
    """What the list files say about N images."""

    root: Path
    files: np.ndarray  # (N,) paths under images/
    labels: np.ndarray  # (N,) int64, class id - 1, an index into class_names
    training: np.ndarray  # (N,) bool
    boxes: np.ndarray  # (N, 4) float64 (x0, y0, x1, y1), first and last pixel of the bird, counted from 0
    keypoints: (
        np.ndarray
    )  # (N, 15, 3) float64 (x, y, visible) in pixels, 0 is the center of the first; 0 where invisible
    class_names: tuple[str, ...]

    def name(self, row: int) -> str:
        return str(Path(self.files[row]).with_suffix("").as_posix())

    def photo(self, row: int) -> Path:
        return self.root / "images" / self.files[row]

    def select(self, rows: Sequence[int] | np.ndarray) -> "CubIndex":
        fields = ("files", "labels", "training", "boxes", "keypoints")
        return replace(self, **{field: vars(self)[field][np.asarray(rows)] for field in fields})


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
    crops: "type[CubCrops] | None" = None,
) -> PartDataset:
    """One split of CUB-200-2011, cropped to a square around the annotated box; masks are what most annotators marked.

    "test" is the official test split; a tenth of the official training images, chosen by name alone, is "val".

    Parameters
    ----------
    classes : species to keep, counted from 1 as in ``classes.txt``; labels stay those of the full list.
    masks : folder of predicted masks, named as those of ``segmentations/``, for the test split.
    padding : space around the box on each side, as a fraction of its width and height (0.05 in the release).
    jitter, mirror : of the training split: each side of the box moves by up to this fraction, and half of the images
        are mirrored, anew at every access (0.05 and True in the release). The crops are then not fixed.
    hold_out : False leaves the images of "val" in "train" too, as the paper does, which has no validation split.
    crops : another way of cropping (:mod:`partlib.paper.release_data`).
    """
    check_fraction("padding", padding)
    check_fraction("jitter", jitter, 0.25)
    root = data_dir() / FOLDER if root is None else root
    index = read_index(root)
    index = index.select(_rows_of(index, split, classes, hold_out))
    predicted = masks is not None and split == "test"
    folder = Path(str(masks)) if predicted else find_segmentations(root)
    known: dict[str, Any] = {"root": root, "keypoint_names": KEYPOINT_NAMES, "label_names": index.class_names}
    data = (crops or CubCrops)(index, folder, padding, name="cub", split=split, image_size=image_size, **known)
    files = data.require_files()
    if split == "train" and (jitter or mirror):
        return replace(data, jitter=jitter, mirror=mirror, fixed_crop=False)

    def make(item: int) -> Rows | None:
        rows = data.crop(item, data.square(item))
        # A predicted mask may be empty: leaving such images out would flatter the scores.
        return rows if predicted or (rows["mask"] > 0).mean() >= MIN_FOREGROUND else None

    options = {"size": image_size, "padding": padding, "crops": type(data).__name__, "masks": str(folder.absolute())}
    items = {index.name(item): item for item in range(len(data))}
    prepared = prepare_once("cub", list(items), files, options | {"predicted": predicted}, make)
    kept = [items[name] for name in prepared.names]
    squares = [data.square(item) for item in kept]
    known["photos"] = np.array([str(index.photo(item)) for item in kept])
    known["boxes"] = np.array([data.box(item, s) for item, s in zip(kept, squares, strict=True)], np.float32)
    fixed = prepared.dataset("cub", split, squares=np.array(squares), **known)
    fixed.keypoints = np.array(
        [data.place(index.keypoints[i], s) for i, s in zip(kept, squares, strict=True)], np.float32
    )
    fixed.labels = index.labels[kept]
    return fixed


def _rows_of(index: CubIndex, split: str, classes: Sequence[int] | None, hold_out: bool) -> list[int]:
    """Rows of ``index`` in this split and these classes."""
    wanted = set(range(1, len(index.class_names) + 1)) if classes is None else set(classes)
    if not wanted or not wanted <= set(range(1, len(index.class_names) + 1)):
        raise ConfigError(f"classes is {tuple(classes or ())}; expected numbers from 1 to {len(index.class_names)}")

    def belongs(row: int) -> bool:
        if not index.training[row]:
            return split == "test"
        return split == (split_of(index.name(row), VAL_PERCENT, 0) if hold_out or split == "val" else "train")

    rows = [row for row in range(len(index.files)) if index.labels[row] + 1 in wanted and belongs(row)]
    if not rows:
        raise DataError(
            f"{index.root}: none of its {len(index.files)} images is in the {split!r} split and these classes; add "
            "images, or load another split"
        )
    return rows


@dataclass(eq=False)
class CubCrops(PartDataset):
    """Crops of CUB made from the original files at every access, with a random box and mirror image where asked for.

    Random numbers come from PyTorch's global generator, so ``torch.manual_seed`` and the workers of a ``DataLoader``
    decide them.
    """

    index: CubIndex
    masks: Path
    padding: float
    jitter: float = 0.0
    mirror: bool = False

    def __len__(self) -> int:
        return len(self.index.files)

    def __getitem__(self, item: int) -> Sample:
        if not -len(self) <= item < len(self):
            raise IndexError(f"sample {item} of {len(self)}")
        square = square_box(perturb_box(self.index.boxes[item], self.padding, self.jitter, torch.rand(4).numpy()))
        rows = self.crop(item, square)
        image = torch.from_numpy(rows["image"].copy()).permute(2, 0, 1).float() / 255  # (3, S, S)
        foreground = torch.from_numpy(rows["mask"].copy()).float()[None] / 255  # (1, S, S)
        keypoints = torch.from_numpy(self.place(self.index.keypoints[item], square)).float()  # (15, 3)
        if self.mirror and torch.rand(()) < 0.5:
            image, foreground, keypoints = image.flip(2), foreground.flip(2), keypoints[MIRRORED]
            keypoints[:, 0] = self.image_size - 1 - keypoints[:, 0]
        return Sample(image, foreground, None, keypoints, int(self.index.labels[item]), self.index.name(item))

    def subset(self, indices: Sequence[int] | np.ndarray) -> "CubCrops":
        return replace(self, index=self.index.select(indices))

    def fingerprint(self) -> str:
        return f"cub-random-{self.root}-{len(self)}-{self.padding}-{self.jitter}-{self.mirror}"

    def square(self, item: int) -> Square:
        """The fixed square of an image: its box with the padding, without jitter."""
        return square_box(perturb_box(self.index.boxes[item], self.padding))

    def box(self, item: int, square: Square) -> np.ndarray:
        """Annotated box in the pixels of the crop, (4,) ``(left, top, width, height)``."""
        (x0, y0, x1, y1), (left, top, side) = self.index.boxes[item], square
        return np.array([x0 - left, y0 - top, x1 - x0 + 1, y1 - y0 + 1]) * self.image_size / side

    def crop(self, item: int, square: Square) -> Rows:
        """Image and mask of one square of one photograph, in which its box and visible keypoints must lie."""
        path = self.index.photo(item)
        photo = read_photo(path)
        (height, width), (x0, y0, x1, y1) = photo.shape[:2], self.index.boxes[item]
        mask = read_votes(self._mask(item), path, (height, width))
        x, y, visible = self.index.keypoints[item].T  # each (15,)
        outside = (visible > 0) & ((np.minimum(x, y) < -1) | (x > width) | (y > height))  # one pixel of rounding
        if outside.any() or x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
            what = f"keypoint {KEYPOINT_NAMES[outside.argmax()]!r}" if outside.any() else "the box"
            raise DataError(
                f"{self.index.root / ('parts/part_locs.txt' if outside.any() else 'bounding_boxes.txt')}: {what} of "
                f"{path.name} lies outside its {width} x {height} photograph; correct it, or use the original photograph"
            )
        return self.resize(photo, mask, square)

    def resize(self, photo: np.ndarray, mask: np.ndarray, square: Square) -> Rows:
        """A square of a photograph (H, W, 3) uint8 and its mask (H, W) bool at the size of the images."""
        return crop_and_resize(photo, mask, None, square, self.image_size)

    def place(self, keypoints: np.ndarray, square: Square) -> np.ndarray:
        """Keypoints (15, 3) of a photograph in the pixels of its crop; those invisible at the center of the crop."""
        left, top, side = square
        placed = keypoints.copy()
        placed[:, :2] = (placed[:, :2] - (left, top) + 0.5) * self.image_size / side - 0.5
        placed[placed[:, 2] == 0, :2] = (self.image_size - 1) / 2
        return placed

    def _mask(self, item: int) -> Path:
        return self.masks / Path(self.index.files[item]).with_suffix(".png")

    def require_files(self) -> list[Path]:
        """All files; DataError for the first that is missing."""
        items = range(len(self))
        files = [self.index.root / name for name in LISTS]
        files += [path for item in items for path in (self.index.photo(item), self._mask(item))]
        for path in files:
            if not path.is_file():
                raise DataError(
                    f"{path} is missing: the photograph or mask (0 background, 255 bird) of an image in images.txt; "
                    "add it, or remove the image from images.txt to leave it out"
                )
        return files


def perturb_box(
    box: np.ndarray, padding: float, jitter: float = 0.0, draws: Sequence[float] | np.ndarray = (0.5,) * 4
) -> np.ndarray:
    """Widen a box ``(x0, y0, x1, y1)``, first and last pixel, and move its four sides at random.

    ``padding`` is added on each side, as a fraction of width or height; each side moves by up to ``jitter`` more,
    outwards where its number of ``draws`` in [0, 1) is 0, inwards where it is 1.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    sides = np.array([width, height, width, height])
    outwards = np.array([-1.0, -1.0, 1.0, 1.0])
    return np.array([x0, y0, x1, y1]) + outwards * sides * (padding + (1 - 2 * np.asarray(draws, float)) * jitter)


def square_box(box: np.ndarray) -> Square:
    """Smallest square in whole pixels around ``(x0, y0, x1, y1)``, on the same center; halves are rounded to even."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    side = max(width, height)
    return x0 - round((side - width) / 2), y0 - round((side - height) / 2), side


def read_index(root: Path) -> CubIndex:
    """Read and check the seven lists under ``root``."""
    for name in LISTS:
        if not (root / name).is_file():
            raise DataError(
                f"{(root / name).absolute()} is missing; download CUB-200-2011 with `partlib data download cub`, or give "
                f"the folder of a copy ({', '.join(LISTS)}) as root, or its parent folder in $PARTLIB_DATA"
            )
    images, classes, parts = (_read_names(root / name) for name in ("images.txt", "classes.txt", "parts/parts.txt"))
    if tuple(parts) != KEYPOINT_NAMES:
        raise DataError(
            f"{root / 'parts/parts.txt'}: expected CUB's 15 keypoints, found {list(parts)}; download it again"
        )
    labels = _read_numbers(root / "image_class_labels.txt", images, ["class"])[:, 0]
    training = _read_numbers(root / "train_test_split.txt", images, ["training"])[:, 0]
    x, y, width, height = _read_numbers(root / "bounding_boxes.txt", images, ["x", "y", "width", "height"]).T
    for name, bad, expected in (
        ("image_class_labels.txt", ~np.isin(labels, classes.index), f"a class from 1 to {len(classes)}"),
        ("bounding_boxes.txt", (width < 1) | (height < 1), "a box of at least 1 x 1 pixels"),
    ):
        if bad.any():
            raise DataError(f"{root / name}: {images.iloc[bad.argmax()]} needs {expected}; correct it")
    keypoints = _read_numbers(root / "parts/part_locs.txt", images, ["x", "y", "visible"], len(KEYPOINT_NAMES))
    visible = keypoints[..., 2:] > 0  # (N, 15, 1)
    return CubIndex(
        root=root,
        files=images.to_numpy(),
        labels=labels.astype(np.int64) - 1,
        training=training > 0,
        boxes=np.stack([x - 1, y - 1, x + width - 2, y + height - 2], axis=1),
        keypoints=np.concatenate([np.where(visible, keypoints[..., :2] - 1, 0), visible], axis=-1),
        class_names=tuple(classes),
    )


def _read_names(path: Path) -> pd.Series:
    """A list of ids with names, in which there may be spaces."""
    lines = pd.read_csv(path, sep="\0", header=None, names=["line"], dtype=str, engine="c")["line"]
    fields = lines.str.extract(r"^\s*(\d+)\s+(.*\S)")
    if fields.isna().any(axis=None):
        bad = lines[fields.isna().any(axis=1)].iloc[0]
        raise DataError(f"{path}: a row is {bad!r}; expected a number and a name: download the data set again")
    return pd.Series(fields[1].to_numpy(object), fields[0].astype(int))


def _read_numbers(path: Path, images: pd.Series, columns: list[str], keypoints: int = 0) -> np.ndarray:
    """The ``columns`` after the id of each image, (N, C) float64; of each of its ``keypoints``, (N, 15, C)."""
    ids = ["image", "keypoint"] if keypoints else ["image"]
    table = pd.read_csv(
        path, sep=r"\s+", header=None, names=ids + columns, index_col=False, float_precision="round_trip"
    )
    table = table.apply(pd.to_numeric, errors="coerce").drop_duplicates(ids, keep="last").set_index(ids)
    numbers = range(1, keypoints + 1)
    table = table.reindex(pd.MultiIndex.from_product([images.index, numbers]) if keypoints else images.index)
    values = table.to_numpy(float)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        image = row // max(keypoints, 1)
        which = f", keypoint {row % keypoints + 1}" if keypoints else ""
        raise DataError(
            f"{path}: image {images.index[image]} ({images.iloc[image]}){which} has no row of {len(ids + columns)} numbers; "
            "correct it, take the image out of images.txt, or download the data set again"
        )
    return values.reshape(len(images), keypoints, -1) if keypoints else values  # (N * 15, 3) -> (N, 15, 3)


def find_segmentations(root: Path) -> Path:
    """Folder of the segmentations, inside ``root`` or beside it."""
    for folder in (root / "segmentations", root.parent / "segmentations"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{root / 'segmentations'} is missing; the masks are a separate archive: unpack {ARCHIVES[1][0]} there, or "
        "run `partlib data download cub` with another folder"
    )


def download(destination: Path | None = None, archives: Sequence[tuple[str, str | None, str]] = ARCHIVES) -> Path:
    """Download images and segmentations (1.2 GB) into ``destination``, unless they are there, and return it."""
    destination = data_dir() / FOLDER if destination is None else destination
    return fetch.install(destination, archives, lambda folder: (read_index(folder), find_segmentations(folder)))
