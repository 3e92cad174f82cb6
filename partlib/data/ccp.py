"""Clothing Co-Parsing: street-fashion photographs with 59 clothing tags per pixel, merged into 8 part classes.

Source: Yang, Luo and Lin, "Clothing Co-Parsing by Joint Image Segmentation and Labeling", CVPR 2014;
https://github.com/bearpaw/clothing-co-parsing (Apache-2.0). 1,004 of its 2,098 photographs, 0001 to 1004, carry pixel
annotations; only those are used, and only for evaluation: training sees their foreground, never their parts.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from partlib.data import photos, reading
from partlib.data.base import ArrayDataset
from partlib.errors import DataError

# Address, SHA-256 where it is known, folder inside the data set; roughly 150 MB
ARCHIVES = (("https://github.com/bearpaw/clothing-co-parsing/archive/refs/heads/master.zip", None, ""),)
FOLDER = "clothing-co-parsing"
ANNOTATED = 1004  # photographs 0001 to 1004 have pixel annotations, 1005 to 2098 have none by design


def load(split: str, root: Path, image_size: int, *, margin: float = 0.05) -> ArrayDataset:
    """One split, by name alone, of any subset of the annotated photographs; ``margin`` around the person."""
    photos.check_fraction("margin", margin)
    splits = {name: photos.split_of(name, val_percent=10, test_percent=20) for name in check(root)}
    tags = read_tags(root)
    part_names, class_of_tag = group_tags(tags)
    names = sorted(splits, key=lambda name: (splits[name], name))  # each split is one run of rows

    def make(index: int) -> photos.Rows | None:
        photo_path, path = _files(root, names[index])
        photo, labels = reading.read_photo(photo_path), read_annotation(path, len(tags))
        reading.check_size(path, labels.shape, photo_path, photo.shape[:2])
        return photos.crop_object(photo, labels > 0, class_of_tag[labels], margin, image_size)

    files = [root / "label_list.mat", *(file for name in names for file in _files(root, name))]
    options = {"size": image_size, "margin": margin, "groups": class_of_tag.tolist()}
    known = {"root": root, "part_names": part_names, "label_names": ("person",)}
    dataset = photos.prepare_once("ccp", split, names, files, options, make, **known)
    dataset.photos = np.array([str(_files(root, name)[0]) for name in dataset.names])
    chosen = np.array([splits[name] == split for name in dataset.names])
    if not chosen.any():
        what = f"none of its {len(chosen)} photos is in the {split!r} split"
        raise DataError(f"{root}: {what}, which the name of a photo decides; add photos, or load another split")
    return dataset.subset(chosen)


def _files(root: Path, name: str) -> tuple[Path, Path]:
    """Photograph and annotation."""
    return root / "photos" / f"{name}.jpg", root / "annotations" / "pixel-level" / f"{name}.mat"


def check(root: Path) -> list[str]:
    """Names ("0001", ...) of the annotated photographs; up to ``ANNOTATED`` each needs both its files."""
    remedy = "give the folder of Clothing Co-Parsing (Apache-2.0) as root, or download it: `partlib data download ccp`"
    photos.require([root / "label_list.mat"], remedy)
    pictured = {path.stem for path in (root / "photos").glob("*.jpg")}
    annotated = {path.stem for path in (root / "annotations" / "pixel-level").glob("*.mat")}
    expected = annotated | {name for name in pictured if not (name.isdecimal() and int(name) > ANNOTATED)}
    files = [file for name in sorted(expected) for file in _files(root, name)]
    photos.require(files or [root / "photos" / "0001.jpg"], "copy it there, or remove its counterpart to leave it out")
    return sorted(annotated)


def read_tags(root: Path) -> tuple[str, ...]:
    """The tag names of ``label_list.mat``; their positions are the labels of the annotations, 0 is "null"."""
    path, what = root / "label_list.mat", "a MATLAB 5 file with 'label_list'"
    return photos.read_mat(path, what, lambda mat: tuple(str(cell.item()) for cell in mat["label_list"].ravel()))


def group_tags(tags: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the part classes 1..8 of ``ccp_groups.json``, and the class of each tag, (T,) uint8; "null" is 0."""
    groups = {name: members for name, members in photos.read_table("ccp_groups.json").items() if name != "comment"}
    class_of = {tag: number for number, members in enumerate(groups.values(), 1) for tag in members}
    rest = list(groups).index("accessories") + 1
    return tuple(groups), np.array([0] + [class_of.get(tag, rest) for tag in tags[1:]], np.uint8)


def read_annotation(path: Path, num_tags: int) -> np.ndarray:
    """Tag of every pixel, (H, W) uint8 in 0..num_tags-1."""
    tags = photos.read_mat(path, "a MATLAB 5 file with 'groundtruth'", lambda mat: np.asarray(mat["groundtruth"]))
    strange = ~np.isin(tags, np.arange(num_tags))
    if tags.ndim != 2 or strange.any():
        found = f"label {tags[strange][0]}" if strange.any() else f"shape {tags.shape}"
        expected = f"one tag from 0 to {num_tags - 1} per pixel"
        raise DataError(f"{path}: found {found}; expected {expected}: download it again")
    return tags.astype(np.uint8)
