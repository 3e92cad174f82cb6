"""DeepFashion In-shop Clothes Retrieval: photographs of people with 15 classes of clothing and body per pixel.

Source: Liu, Luo, Qiu, Wang, Tang, "DeepFashion: Powering Robust Clothes Recognition and Retrieval with Rich
Annotations", CVPR 2016. The paper trains on the foreground and scores the parts against the classes.

::

    In-shop Clothes Retrieval Benchmark/
      Anno/segmentation/
        DeepFashion_segmentation_train.json    lists of images, in the format of COCO;
        DeepFashion_segmentation_query.json    query and gallery together are the test split
        DeepFashion_segmentation_gallery.json
        img_highres/                           img_highres_seg.zip, unpacked
          WOMEN/Dresses/id_00000002/02_1_front.jpg
          WOMEN/Dresses/id_00000002/02_1_front_segment.png    the classes as colours
"""

import json
import warnings
from pathlib import Path, PurePosixPath

import numpy as np

from partlib.data.base import ArrayDataset
from partlib.data.masks import read_mask
from partlib.data.prepare import (
    MIN_FOREGROUND,
    Rows,
    crop_square,
    prepare_once,
    read_photo,
    resize_labels,
    resize_mask,
    resize_photo,
    split_of,
)
from partlib.errors import DataError
from partlib.paper.release_resize import resize_bilinear_8bit, resize_labels_bilinear, resize_nearest
from partlib.paths import data_dir

FOLDER = "DeepFashion/In-shop Clothes Retrieval Benchmark"
LISTS = {"train": ("train",), "val": ("train",), "test": ("query", "gallery")}
VAL_PERCENT = 10  # of the training list, chosen by name
LABEL_NAMES = ("MEN", "WOMEN")

# Classes in the order of their labels, which is the order of their colours.
PALETTE: dict[str, tuple[int, int, int]] = {
    "background": (0, 0, 0),
    "belt": (0, 100, 0),
    "dress": (16, 78, 139),
    "bag": (50, 205, 50),
    "leggings": (70, 130, 180),
    "eyeglass": (127, 255, 212),
    "skin": (144, 238, 144),
    "hair": (211, 211, 211),
    "neckwear": (220, 220, 220),
    "face": (245, 222, 179),
    "skirt": (250, 235, 215),
    "headwear": (255, 0, 0),
    "pants": (255, 140, 0),
    "outer": (255, 250, 205),
    "top": (255, 250, 250),
    "footwear": (255, 255, 0),
}
PART_NAMES = tuple(PALETTE)[1:]
COLORS = np.array(list(PALETTE.values()), np.uint8)  # (16, 3)
HOW_TO_GET = (
    "ask for access at https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html, download the folder "
    '"Anno/segmentation" and img_highres_seg.zip, and unpack the zip into that folder so that it holds the three '
    "DeepFashion_segmentation_*.json and img_highres/MEN, img_highres/WOMEN"
)


def load(
    split: str,
    root: Path | None,
    image_size: int,
    *,
    masks: str | Path | None = None,
    skip_missing: bool = False,
    hold_out: bool = True,
    reproduce_release: bool = False,
) -> ArrayDataset:
    """One split of DeepFashion In-shop, whole photographs made square.

    "test" is the query and gallery lists; a tenth of the training list, chosen by name alone, is "val".

    Parameters
    ----------
    split : "train", "val" or "test".
    root : folder that holds ``Anno/segmentation``; None for ``DeepFashion/In-shop Clothes Retrieval Benchmark`` in
        ``$PARTLIB_DATA`` or ``./data``.
    image_size : side of the square images in pixels. Narrow photographs are continued at their edges.
    masks : folder of predicted foreground masks for the test split (``img_highres/WOMEN/.../02_1_front.png``); parts
        stay the annotated ones. The other splits are not affected.
    skip_missing : leave out listed images without a segmentation, with one warning that counts them; else an error.
    hold_out : False leaves the images of "val" in "train" too, as the paper does, which has no validation split.
    reproduce_release : resize as the release does, bilinear without antialiasing and labels by nearest neighbour. The
        default averages (Lanczos) and gives each cell the class that covers most of it.

    Returns
    -------
    ArrayDataset; ``part_names`` in the order of the palette's colours, label 0 "MEN", 1 "WOMEN"; ``photos`` (N,) the
    paths of the photographs.

    Raises
    ------
    DataError : a list, photograph or segmentation is missing or broken, or a colour is not in the palette; the message
        names it. Images with less than 0.5 % of foreground are skipped with one warning that counts them, but never
        for their predicted mask.
    """
    root = data_dir() / FOLDER if root is None else Path(root)
    folder = root / "Anno" / "segmentation"
    lists = [folder / f"DeepFashion_segmentation_{name}.json" for name in LISTS[split]]
    names = sorted({name for path in lists for name in read_list(root, path)})
    if split == "val" or (split == "train" and hold_out):
        names = [name for name in names if split_of(name, VAL_PERCENT, 0) == split]
    mask_folder = Path(masks) if masks is not None and split == "test" else None
    names = _with_files(folder, names, mask_folder, skip_missing)
    if not names:
        raise DataError(f"{lists[0]}: no image of it is in the {split!r} split; add images, or load another split")

    def make(index: int) -> Rows | None:
        return _prepare(folder, names[index], mask_folder, image_size, reproduce_release)

    files = [*lists, *(file for name in names for file in _files(folder, name, mask_folder))]
    options = {"size": image_size, "release": reproduce_release, "masks": mask_folder and str(mask_folder.absolute())}
    options |= {"keep_empty": True} if mask_folder else {}
    prepared = prepare_once("deepfashion", names, files, options, make)
    prepared.warn_skipped()
    dataset = prepared.dataset(
        "deepfashion",
        split,
        range(len(prepared.names)),
        root=root,
        part_names=PART_NAMES,
        label_names=LABEL_NAMES,
        photos=np.array([str(folder / f"{name}.jpg") for name in prepared.names]),
    )
    dataset.labels = np.array([int("WOMEN" in PurePosixPath(name).parts) for name in prepared.names])
    return dataset


def read_list(root: Path, path: Path) -> list[str]:
    """Images of one of the JSON lists, as paths below ``Anno/segmentation`` without their suffix.

    The lists name either the small copies (``img/WOMEN/...``) or the large ones (``img_highres/WOMEN/...``); the
    segmentations belong to the large ones.

    Raises
    ------
    DataError : the data set is not there, or the list is missing or is not such a list.
    """
    if not root.is_dir():
        raise DataError(f"DeepFashion is not at {root.absolute()}; {HOW_TO_GET}")
    if not path.is_file():
        raise DataError(f"{path} is missing; {HOW_TO_GET}")
    try:
        files = [str(image["file_name"]) for image in json.loads(path.read_text(encoding="utf-8"))["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path}: expected JSON with {{"images": [{{"file_name": ...}}, ...]}} ({error!r}); download it again'
        ) from error
    names = []
    for file in files:
        steps = PurePosixPath(file).parts
        if ".." in steps or PurePosixPath(file).is_absolute():
            raise DataError(f"{path}: {file!r} would lie outside the data set; download the list again")
        below = steps[1:] if steps[0] in ("img", "img_highres") else steps
        names.append(PurePosixPath("img_highres", *below).with_suffix("").as_posix())
    return names


def _files(folder: Path, name: str, masks: Path | None) -> list[Path]:
    """Photograph, segmentation and, where they are replaced, mask of one image."""
    own = [folder / f"{name}.jpg", folder / f"{name}_segment.png"]
    return own + ([masks / f"{name}.png"] if masks else [])


def _with_files(folder: Path, names: list[str], masks: Path | None, skip_missing: bool) -> list[str]:
    """``names`` whose files are all there; see ``skip_missing`` of :func:`load`."""
    if masks is not None and not masks.is_dir():
        raise DataError(f"masks: {masks.absolute()} is not a folder; expected one with img_highres/WOMEN/.../*.png")
    kept = []
    for name in names:
        photo, segmentation, *mask = _files(folder, name, masks)
        if not photo.is_file():
            raise DataError(f"{photo} is missing but listed; {HOW_TO_GET}")
        if not segmentation.is_file() and not skip_missing:
            raise DataError(
                f"{segmentation} is missing: the segmentation of a listed photograph; unpack img_highres_seg.zip "
                "again, or leave such photographs out with skip_missing=True"
            )
        if mask and not mask[0].is_file():
            raise DataError(f"{mask[0]} is missing: the predicted mask of {photo.name}; add it (0 or 255)")
        if segmentation.is_file():
            kept.append(name)
    if len(kept) < len(names):
        warnings.warn(f"left out {len(names) - len(kept)} of {len(names)} images without segmentation", stacklevel=4)
    return kept


def read_segmentation(path: Path) -> np.ndarray:
    """Class of every pixel, (H, W) uint8 in 0..15, from a colour-coded PNG.

    Every pixel must have exactly one of the 16 colours. (The release compares the sum of red, green and blue only, so
    that a foreign colour with the sum of a known one passes as that class.)

    Raises
    ------
    DataError : the file is not an image or holds another colour; the message names colour and place.
    """
    packed = _packed(read_photo(path))  # (H, W)
    known = _packed(COLORS)  # (16,), ascending
    labels = np.searchsorted(known, packed).clip(max=len(known) - 1)
    foreign = known[labels] != packed
    if foreign.any():
        row, column = np.argwhere(foreign)[0]
        red, green, blue = (int(packed[row, column]) >> shift & 255 for shift in (16, 8, 0))
        raise DataError(
            f"{path}: colour ({red}, {green}, {blue}) at x {column}, y {row} is not one of the {len(known)} of the "
            f"palette ({int(foreign.sum())} such pixels); use the original PNG, not a resized or JPEG copy"
        )
    return labels.astype(np.uint8)


def _packed(colors: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 as one number each, (...) int32."""
    wide = colors.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def letterbox(image: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Photograph (H, W, 3) and labels (H, W), both uint8, resized to fit a square of ``size`` as the release does.

    The short side is centred; beyond it the photograph repeats its edge and the labels are 0.
    """
    side = max(labels.shape)
    height, width = (max(round(length * size / side), 1) for length in labels.shape)
    square = (-((size - width) // 2), -((size - height) // 2), size)
    return (
        crop_square(resize_bilinear_8bit(image, height, width), square, "edge"),
        crop_square(resize_nearest(labels, height, width), square, "zero"),
    )


def labels_as_grey_values(photo: Path, size: int) -> np.ndarray:
    """Classes of a photograph made square, (size, size) uint8, shrunk as if they were grey values.

    The release's scores of whole images are computed on such labels. Between two classes a third appears; use them for
    nothing but comparing with its numbers.
    """
    labels = read_segmentation(photo.with_name(f"{photo.stem}_segment.png"))
    square = _whole(labels.shape)
    return resize_labels_bilinear(crop_square(labels, square, "zero"), size, size)


def _whole(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The smallest square ``(left, top, side)`` around a photograph of ``shape`` (H, W), on the same centre."""
    height, width = shape
    side = max(height, width)
    return -((side - width) // 2), -((side - height) // 2), side


def _prepare(folder: Path, name: str, masks: Path | None, size: int, reproduce_release: bool) -> Rows | None:
    """Read, check and resize one image; None where it has no foreground."""
    photo_path, segmentation_path, *mask_path = _files(folder, name, masks)
    photo, labels = read_photo(photo_path), read_segmentation(segmentation_path)
    if labels.shape != photo.shape[:2]:
        raise DataError(
            f"{segmentation_path}: is {labels.shape[1]} x {labels.shape[0]} pixels, its photograph {photo_path.name} "
            f"is {photo.shape[1]} x {photo.shape[0]}; expected the same size: use those of img_highres_seg.zip"
        )
    mask = read_mask(mask_path[0], photo_path, labels.shape) if mask_path else labels > 0
    # A predicted mask may be empty; leaving such images out would flatter the scores.
    if not mask_path and mask.mean() < MIN_FOREGROUND:
        return None
    if reproduce_release:
        image, parts = letterbox(photo, labels, size)
        small = letterbox(photo, mask.astype(np.uint8), size)[1] > 0
    else:
        square = _whole(labels.shape)
        image = resize_photo(crop_square(photo, square, "edge"), size)
        cut = crop_square(labels, square, "zero")
        parts = resize_labels(cut, resize_mask(cut > 0, size), size)
        small = resize_mask(crop_square(mask, square, "zero"), size)
    return {"image": image, "mask": small.astype(np.uint8) * 255, "parts": parts}


def download(destination: Path | None = None) -> Path:
    """The folder of the data set where it is; it cannot be downloaded without asking, so an error says how to get it.

    Raises
    ------
    DataError : the data set is not there.
    """
    destination = data_dir() / FOLDER if destination is None else Path(destination)
    read_list(destination, destination / "Anno" / "segmentation" / "DeepFashion_segmentation_train.json")
    return destination
