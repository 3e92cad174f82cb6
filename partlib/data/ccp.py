"""Clothing Co-Parsing: street-fashion photographs with 59 clothing tags per pixel, merged into 8 part classes.

Source: Yang, Luo and Lin, "Clothing Co-Parsing by Joint Image Segmentation and Labeling", CVPR 2014;
https://github.com/bearpaw/clothing-co-parsing (Apache-2.0). 1,004 of its 2,098 photographs, 0001 to 1004, carry pixel
annotations; only those are used, and only for evaluation: training sees their foreground, never their parts.
"""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from partlib.data import fetch
from partlib.data.base import ArrayDataset
from partlib.data.prepare import Rows, check_margin, prepare_crop, prepare_once, read_photo, split_of
from partlib.errors import DataError
from partlib.paths import data_dir

URL = "https://github.com/bearpaw/clothing-co-parsing/archive/refs/heads/master.zip"
FOLDER = "clothing-co-parsing"
ANNOTATED = 1004  # photographs 0001 to 1004 have pixel annotations, 1005 to 2098 have none by design
VAL_PERCENT, TEST_PERCENT = 10, 20


def load(
    split: str, root: Path | None, image_size: int, *, margin: float = 0.05, raw_labels: bool = False
) -> ArrayDataset:
    """One split of Clothing Co-Parsing, cropped to the annotated person.

    Works on any subset of the annotated photographs: the annotations under ``annotations/pixel-level`` say which, and
    the split depends on the name of a photograph alone (see :func:`partlib.data.prepare.split_of`; about 70 % train,
    10 % val, 20 % test). Prepared once for all splits, then mapped from the cache.

    Parameters
    ----------
    split : "train", "val" or "test".
    root : folder with ``photos``, ``annotations`` and ``label_list.mat``; None for ``clothing-co-parsing`` in
        ``$PARTLIB_DATA`` or ``./data``.
    image_size : side of the square images in pixels.
    margin : space around the person on each side, as a fraction of the longer side of its box. What lies outside the
        photograph repeats its edge and is background.
    raw_labels : False for the 8 classes of ``ccp_groups.json``; True for the tags of ``label_list.mat`` themselves.

    Returns
    -------
    ArrayDataset with ``part_names``, ``tag_names`` (tags in the order of the annotations, 0 is "null"),
    ``tag_to_group`` (uint8, group class of each tag) and ``skipped`` (names of photographs without a foreground, all
    splits together) beside the usual attributes. The foreground is the same with and without ``raw_labels``.

    Raises
    ------
    DataError : a file is missing, broken or does not fit another; the message names it. Photographs with less than
        0.5 % of foreground are skipped with one warning that counts them.
    """
    check_margin(margin)
    root = data_dir() / FOLDER if root is None else Path(root)
    names = find_annotated(root)
    tags = read_tags(root / "label_list.mat")
    group_names, tag_to_group = group_tags(tags)
    names = sorted(names, key=lambda name: (_split(name), name))  # each split is one run of rows

    def make(index: int) -> Rows | None:
        return _prepare(root, names[index], tags, None if raw_labels else tag_to_group, margin, image_size)

    files = [root / "label_list.mat", *(f for name in names for f in (_photo(root, name), _annotation(root, name)))]
    lookup = None if raw_labels else tag_to_group.tolist()
    options = {"size": image_size, "margin": margin, "groups": lookup}
    prepared = prepare_once("ccp", names, files, options, make)
    prepared.warn_skipped()
    part_names = tuple(tags[1:]) if raw_labels else group_names
    chosen = [i for i, name in enumerate(prepared.names) if _split(name) == split]
    if not chosen:
        raise DataError(
            f"{root}: none of its {len(prepared.names)} photos with a foreground is in the {split!r} split, which the "
            "name of a photo decides; add photos, or load another split"
        )
    return prepared.dataset(
        "ccp",
        split,
        chosen,
        root=root,
        label_names=("person",),
        part_names=part_names,
        tag_names=tags,
        tag_to_group=tag_to_group,
    )


def _split(name: str) -> str:
    return split_of(name, VAL_PERCENT, TEST_PERCENT)


def _photo(root: Path, name: str) -> Path:
    return root / "photos" / f"{name}.jpg"


def _annotation(root: Path, name: str) -> Path:
    return root / "annotations" / "pixel-level" / f"{name}.mat"


def find_annotated(root: Path) -> list[str]:
    """Names ("0001", ...) of the annotated photographs under ``root``, sorted.

    Every annotation needs its photograph, and every photograph its annotation, except those numbered above
    ``ANNOTATED``, which the data set leaves without: those are passed over.

    Raises
    ------
    DataError : the folder is not there or is not in the original layout, or one of a pair is missing.
    """
    if not root.is_dir():
        raise DataError(
            f"Clothing Co-Parsing is not at {root.absolute()}; download it with `partlib data download ccp` (from "
            "github.com/bearpaw/clothing-co-parsing, Apache-2.0), or give the folder of an existing copy as root, or "
            "its parent folder in $PARTLIB_DATA"
        )
    for part in ("photos", "annotations/pixel-level", "label_list.mat"):
        if not (root / part).exists():
            raise DataError(
                f"{root / part} is missing; expected the original layout (photos/, annotations/pixel-level/, "
                "label_list.mat): point root at the folder that holds them, or run `partlib data download ccp`"
            )
    photos = {path.stem for path in (root / "photos").glob("*.jpg")}
    annotated = {path.stem for path in (root / "annotations" / "pixel-level").glob("*.mat")}
    if not annotated:
        raise DataError(
            f"{root / 'annotations' / 'pixel-level'} holds no .mat file; expected one per photo up to {ANNOTATED}"
        )
    _raise_missing([_photo(root, name) for name in sorted(annotated - photos)], "the photo of an annotation")
    expected = {name for name in photos if not (name.isdecimal() and int(name) > ANNOTATED)}
    _raise_missing([_annotation(root, name) for name in sorted(expected - annotated)], "the annotation of a photo")
    return sorted(annotated)


def _raise_missing(paths: list[Path], what: str) -> None:
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise DataError(
            f"{paths[0]} is missing{more}: {what}; copy it there, or remove its counterpart to leave it out"
        )


def _read_mat(path: Path, key: str) -> np.ndarray:
    try:
        return loadmat(path)[key]
    except KeyError as error:
        raise DataError(f"{path}: no variable {key!r} in it; expected an original file of the data set") from error
    # scipy's reader meets a damaged file in whichever step it happens to be, with no common type of error.
    except Exception as error:
        raise DataError(
            f"{path}: expected a MATLAB 5 file, but it cannot be read ({error}); copy or download it again"
        ) from error


def read_tags(path: Path) -> tuple[str, ...]:
    """The tag names of ``label_list.mat``; their positions are the labels of the annotations, 0 is "null"."""
    cells = _read_mat(path, "label_list").ravel()
    tags = tuple(str(cell.item() if isinstance(cell, np.ndarray) else cell) for cell in cells)
    if not tags or tags[0] != "null":
        raise DataError(f"{path}: expected a list of tags that starts with 'null', found {tags[:3]}; download it again")
    return tags


def group_tags(tags: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Merge tags into the part classes of ``ccp_groups.json``.

    Returns
    -------
    names : the classes 1..8, in the order of the file.
    lookup : (len(tags),) uint8; lookup[tag] is the class, 0 for "null". A tag listed nowhere is "accessories".
    """
    text = resources.files("partlib.data").joinpath("ccp_groups.json").read_text(encoding="utf-8")
    groups = {name: members for name, members in json.loads(text).items() if name != "comment"}
    names = tuple(groups)
    class_of = {tag: names.index(name) + 1 for name, members in groups.items() for tag in members}
    rest = names.index("accessories") + 1
    return names, np.array([0] + [class_of.get(tag, rest) for tag in tags[1:]], np.uint8)


def read_annotation(path: Path, num_tags: int) -> np.ndarray:
    """Tag of every pixel, (H, W) uint8 in 0..num_tags-1.

    Raises
    ------
    DataError : the file cannot be read, is not one label per pixel, or holds a label without a tag.
    """
    tags = np.asarray(_read_mat(path, "groundtruth"))
    if tags.ndim != 2 or tags.dtype.kind not in "uif" or tags.size == 0:
        raise DataError(f"{path}: expected a matrix of one label per pixel, found {tags.dtype} of shape {tags.shape}")
    strange = ~np.isin(tags, np.arange(num_tags))
    if strange.any():
        raise DataError(
            f"{path}: label {tags[strange][0]} has no tag; expected 0 to {num_tags - 1} as in label_list.mat: "
            "download it again"
        )
    return tags.astype(np.uint8)


def _prepare(
    root: Path, name: str, tags: Sequence[str], tag_to_group: np.ndarray | None, margin: float, size: int
) -> Rows | None:
    """Read, check, crop and resize one photograph; None where it has no foreground."""
    labels = read_annotation(_annotation(root, name), len(tags))
    photo = read_photo(_photo(root, name))
    if photo.shape[:2] != labels.shape:
        raise DataError(
            f"{_annotation(root, name)}: the annotation is {labels.shape[1]} x {labels.shape[0]} pixels, its photo "
            f"{_photo(root, name).name} is {photo.shape[1]} x {photo.shape[0]}; expected the same size: "
            "use the original photo, not a resized one"
        )
    if tag_to_group is not None:
        labels = tag_to_group[labels]
    return prepare_crop(photo, labels > 0, labels, margin, size)


def download(destination: Path | None = None, url: str = URL, sha256: str | None = None) -> Path:
    """Download the data set (roughly 150 MB) into ``destination`` and return it; nothing happens where it is already.

    An interrupted download continues where it stopped. The archive lies beside ``destination`` until it is unpacked
    and the folder appears only when complete.

    Parameters
    ----------
    destination : folder to make; None for ``clothing-co-parsing`` in ``$PARTLIB_DATA`` or ``./data``.
    url : address of an archive of the repository.
    sha256 : expected checksum; None to note the one of the first download and to hold later ones to it.

    Raises
    ------
    DataError : no network, a damaged archive, or an archive of something else; the message says what to do.
    """
    destination = data_dir() / FOLDER if destination is None else Path(destination)
    if destination.is_dir() and not any(destination.iterdir()):
        destination.rmdir()
    if destination.exists():
        _verify(destination, f"{destination} exists; remove or rename it to download anew")
        return destination
    archive = fetch.fetch(url, destination.parent / f"{FOLDER}.zip", sha256=sha256)
    fetch.extract(archive, destination)
    _verify(destination, f"{url} is not this data set; remove {destination} and {archive}")
    archive.unlink()
    return destination


def _verify(root: Path, otherwise: str) -> None:
    try:
        find_annotated(root)
    except DataError as error:
        raise DataError(f"{otherwise} (expected a complete copy, but {error})") from error
