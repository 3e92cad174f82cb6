"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes, 15 keypoints and masks, but no part masks.

Source: Wah, Branson, Welinder, Perona, Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001, Caltech.
The paper trains on all species and reports keypoint errors for classes 001, 002, 003 and all (its table 1).
data/README.md shows the folder. Ids and coordinates in the files count from 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from partlib.data import photos, reading
from partlib.data.base import PartDataset, Sample
from partlib.errors import ConfigError, DataError, brief
from partlib.paths import masks_dir

FOLDER = "CUB_200_2011"
TABLE = photos.read_table("cub.json")
ARCHIVES = TABLE["archives"]  # address, SHA-256, folder inside the data set; 1.2 GB together
LISTS = TABLE["lists"]  # files and their columns
KEYPOINT_NAMES = tuple(TABLE["keypoints"])
OUTSIDE = 0.05  # of the longer side: as far off its photograph an annotated keypoint may lie (one does, by 3 %)
MIRRORED = [0, 1, 2, 3, 4, 5, 10, 11, 12, 9, 6, 7, 8, 13, 14]  # the keypoints when left and right change places


def load(
    split: str,
    root: Path,
    image_size: int,
    *,
    classes: Sequence[int] | None = None,  # species to keep, counted from 1; labels stay those of the full list
    masks: str | Path = "annotated",  # "boxes": derived from those by `partlib masks`; or a folder like segmentations/
    padding: float = 0.05,  # space around the box on each side, as a fraction of its width and height
    jitter: float = 0.0,  # "train" only: each side of the box moves by up to this fraction (0.05 in the release)
    mirror: bool = False,  # "train" only: half of the images are mirrored (as in the release)
    hold_out: bool = True,  # "val" is a tenth of "train", chosen by name; False leaves it in both, as the paper does
    crops: "type[CubCrops] | None" = None,  # another way of cropping: paper.release_data
) -> PartDataset:
    """One official split, cropped to a square around the annotated box; masks are what most annotators marked."""
    photos.check_fraction("padding", padding)
    photos.check_fraction("jitter", jitter, 0.25)
    birds, class_names = read_lists(root)
    if classes is not None and not (classes and 1 <= min(classes) <= max(classes) <= len(class_names)):
        raise ConfigError(f"classes is {tuple(classes)}; expected numbers from 1 to {len(class_names)}")
    birds = birds[birds.training == (split != "test")]
    birds = birds.loc[photos.names_in(split, birds.index, hold_out)]
    birds = birds if classes is None else birds[np.isin(birds.label + 1, classes)]
    if not len(birds):
        raise DataError(f"{root}: no image is in the {split!r} split and classes {classes}; add images, or load others")
    folder, annotated = find_masks(root, masks), masks == "annotated"
    known: dict[str, Any] = {"root": root, "keypoint_names": KEYPOINT_NAMES, "label_names": class_names}
    data = (crops or CubCrops)(birds, folder, padding, name="cub", split=split, image_size=image_size, **known)
    files = [file for item in range(len(data)) for file in data.files(item)]
    photos.require(files, "add this photograph or mask (0 and 255), or take its image out of images.txt")
    if split == "train" and (jitter or mirror):
        return replace(data, jitter=jitter, mirror=mirror, fixed_crop=False)

    def make(item: int) -> photos.Rows | None:
        rows = data.crop(item, square_box(perturb_box(birds.box.iloc[item], padding)))
        # Other masks than annotated ones may be empty: leaving such test images out would flatter the scores.
        everything = split == "test" and not annotated
        return rows if everything or (rows["masks"] > 0).mean() >= photos.MIN_FOREGROUND else None

    options = {"size": image_size, "padding": padding, "crops": type(data).__name__, "annotated": annotated}
    options |= {"masks": str(folder.absolute())}
    files += [root / name for name in LISTS]
    fixed = photos.prepare_once("cub", split, list(birds.index), files, options, make, **known)
    fixed.photos = np.array([str(root / "images" / file) for file in birds.file[fixed.names]])
    return fixed


@dataclass(eq=False)
class CubCrops(PartDataset):
    """Crops made from the original files at every access; PyTorch's global generator draws box and mirror image."""

    birds: pd.DataFrame  # see read_lists
    masks: Path
    padding: float
    jitter: float = 0.0
    mirror: bool = False

    def __len__(self) -> int:
        return len(self.birds)

    def __getitem__(self, item: int) -> Sample:
        if not -len(self) <= item < len(self):
            raise IndexError(f"sample {item} of {len(self)}")
        box = perturb_box(self.birds.box.iloc[item], self.padding, self.jitter, torch.rand(4).numpy())
        rows = self.crop(item, square_box(box))
        image = torch.tensor(rows["images"]).permute(2, 0, 1).float() / 255  # (3, S, S)
        foreground = torch.tensor(rows["masks"]).float()[None] / 255  # (1, S, S)
        keypoints = torch.tensor(rows["keypoints"])  # (15, 3)
        if self.mirror and torch.rand(()) < 0.5:
            image, foreground, keypoints = image.flip(2), foreground.flip(2), keypoints[MIRRORED]
            keypoints[:, 0] = self.image_size - 1 - keypoints[:, 0]
        return Sample(image, foreground, None, keypoints, int(rows["labels"]), self.birds.index[item])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "CubCrops":
        return replace(self, birds=self.birds.iloc[np.asarray(indices)])

    def fingerprint(self) -> str:
        return f"cub-random-{self.root}-{len(self)}-{self.padding}-{self.jitter}-{self.mirror}"

    def files(self, item: int) -> tuple[Path, Path]:
        """Photograph and mask of an image."""
        assert self.root is not None
        file = self.birds.file.iloc[item]
        return self.root / "images" / file, self.masks / Path(file).with_suffix(".png")

    def crop(self, item: int, square: photos.Square) -> photos.Rows:
        """One square of one photograph, in which its box and visible keypoints must lie."""
        bird, (photo_path, mask_path) = self.birds.iloc[item], self.files(item)
        photo = reading.read_photo(photo_path)
        mask = reading.read_votes(mask_path, photo_path, photo.shape[:2])
        (height, width), (x0, y0, x1, y1), (left, top, side) = mask.shape, bird.box, square
        x, y, visible = bird.keypoints.T  # each (15,)
        beyond = np.maximum.reduce([-x, -y, x - (width - 1), y - (height - 1)]) * (visible > 0)  # (15,) pixels
        outside = beyond > max(1, OUTSIDE * max(width, height))
        if outside.any() or x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
            what = f"keypoint {KEYPOINT_NAMES[outside.argmax()]!r}" if outside.any() else "the box"
            remedy = "use the original photograph, or correct parts/part_locs.txt or bounding_boxes.txt"
            raise DataError(f"{photo_path}: {what} lies outside its {width} x {height} pixels; {remedy}")
        box = np.array([x0 - left, y0 - top, x1 - x0 + 1, y1 - y0 + 1]) * self.image_size / side
        points = {"keypoints": self.place(bird.keypoints, square).astype(np.float32), "boxes": box.astype(np.float32)}
        return self.resize(photo, mask, square) | points | {"squares": np.array(square), "labels": np.array(bird.label)}

    def resize(self, photo: np.ndarray, mask: np.ndarray, square: photos.Square) -> photos.Rows:
        """A square of a photograph (H, W, 3) uint8 and its mask (H, W) bool at the size of the images."""
        return photos.crop_and_resize(photo, mask, None, square, self.image_size)

    def place(self, keypoints: np.ndarray, square: photos.Square) -> np.ndarray:
        """Keypoints (15, 3) of a photograph in the pixels of its crop; those invisible at the center of the crop."""
        placed = keypoints.copy()
        placed[:, :2] = (placed[:, :2] - square[:2] + 0.5) * self.image_size / square[2] - 0.5
        placed[placed[:, 2] == 0, :2] = (self.image_size - 1) / 2
        return placed


def perturb_box(box: np.ndarray, padding: float, jitter: float = 0.0, draws: ArrayLike = (0.5,) * 4) -> np.ndarray:
    """A box ``(x0, y0, x1, y1)``, its sides moved outwards by ``padding``, and by up to ``jitter``, of its size."""
    # The jitter goes outwards where the side's number of ``draws`` in [0, 1) is 0, inwards where it is 1.
    sides = np.tile(box[2:] - box[:2] + 1, 2)  # width, height, width, height
    return box + [-1.0, -1.0, 1.0, 1.0] * sides * (padding + (1 - 2 * np.asarray(draws, float)) * jitter)


def square_box(box: np.ndarray) -> photos.Square:
    """Smallest square in whole pixels around ``(x0, y0, x1, y1)``, on the same center; halves are rounded to even."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    width, height = x1 - x0 + 1, y1 - y0 + 1
    side = max(width, height)
    return x0 - round((side - width) / 2), y0 - round((side - height) / 2), side


def read_lists(root: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The lists under ``root``: a table of the images, and the names of the classes.

    Columns, by the name of the image: file under images/; label, class id - 1; training; box (4,) ``(x0, y0, x1, y1)``,
    first and last pixel of the bird; keypoints (15, 3) ``(x, y, visible)``, 0 where invisible. Pixels count from 0.
    """
    remedy = "download CUB-200-2011 with `partlib data download cub`, or give the folder that holds it as root"
    photos.require([root / name for name in LISTS], remedy)
    files = _read_list(root, "images.txt").file.astype(object)
    class_names = tuple(_read_list(root, "classes.txt").name)
    numbered = " ".join(f"{number} {name}" for number, name in enumerate(KEYPOINT_NAMES, 1))
    if " ".join(photos.read_lines(root / "parts/parts.txt")).split() != numbered.split():
        raise DataError(f"{root / 'parts/parts.txt'}: expected CUB's 15 keypoints, back to throat; download it again")
    label = _read_list(root, "image_class_labels.txt", files.index)["class"].to_numpy(int) - 1
    training = _read_list(root, "train_test_split.txt", files.index).training.to_numpy() > 0
    unknown = ~np.isin(label, range(len(class_names)))
    if unknown.any():
        what = f"{files[unknown].iloc[0]} needs a class from 1 to {len(class_names)}"
        raise DataError(f"{root / 'image_class_labels.txt'}: {what}; correct it")
    x, y, width, height = _read_list(root, "bounding_boxes.txt", files.index).to_numpy().T  # each (N,)
    box = np.stack([x - 1, y - 1, x + width - 2, y + height - 2], axis=1)  # (N, 4)
    each = pd.MultiIndex.from_product([files.index, range(1, len(KEYPOINT_NAMES) + 1)])
    points = _read_list(root, "parts/part_locs.txt", each).to_numpy()
    points = points.reshape(len(files), len(KEYPOINT_NAMES), 3)  # (N * 15, 3) -> (N, 15, 3)
    visible = points[..., 2:] > 0  # (N, 15, 1)
    points = np.concatenate([np.where(visible, points[..., :2] - 1, 0), visible], axis=-1)
    names = [Path(file).with_suffix("").as_posix() for file in files]
    columns = {"file": files.to_numpy(), "label": label, "training": training, "box": [*box], "keypoints": [*points]}
    return pd.DataFrame(columns, names), class_names


def _read_list(root: Path, name: str, wanted: pd.Index | None = None) -> pd.DataFrame:
    """A list as a table by its ids, which are its first columns; numbers for the ids ``wanted``, else text."""
    path, columns = root / name, LISTS[name]
    ids = columns[: 1 if wanted is None else wanted.nlevels]
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, names=columns, index_col=False)
    except ValueError as error:  # pandas' own errors are of this kind
        raise DataError(f"{path}: is not a list of CUB ({brief(error)}); download the data set again") from error
    table = table.drop_duplicates(ids, keep="last").set_index(ids)
    if wanted is not None:
        table = table.reindex(wanted).apply(pd.to_numeric, errors="coerce").astype(float)
    bad = table.isna().any(axis=1)
    if bad.any():
        first = bad.idxmax()  # a tuple where a row has several ids; of plain numbers only with a newer pandas
        first = tuple(map(int, first)) if isinstance(first, tuple) else first
        row = f"{', '.join(ids)} {first} needs a row of {len(columns)} values"
        raise DataError(f"{path}: {row}; correct it, or take the image out of images.txt")
    return table


def find_masks(root: Path, masks: str | Path = "annotated") -> Path:
    """Folder of the masks: the annotated segmentations, those derived from boxes, or the one that is given."""
    if masks == "annotated":
        return find_segmentations(root)
    folder = masks_dir("cub") / "masks" if masks == "boxes" else Path(masks)
    if not folder.is_dir():
        remedy = f"make masks from the boxes: {_derive(root)}" if masks == "boxes" else "expected a folder of masks"
        raise DataError(f"masks={masks}: {folder} is missing; {remedy}")
    return folder


def find_segmentations(root: Path) -> Path:
    """Folder of the segmentations, inside ``root`` or beside it."""
    for folder in (root / "segmentations", root.parent / "segmentations"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{root}/segmentations is missing; the masks are a separate archive: unpack {ARCHIVES[1][0]} there; or make"
        f" masks from the boxes: {_derive(root)}, and take those: --data-options masks=boxes"
    )


def _derive(root: Path) -> str:
    return f"partlib masks --data cub --root {root}"


def check(root: Path) -> None:
    """DataError unless lists and segmentations are there."""
    read_lists(root)
    find_segmentations(root)
