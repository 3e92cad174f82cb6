"""The files of CUB-200-2011: its lists read and checked, and its two archives downloaded and put together.

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

Ids and coordinates count from 1.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from partlib.data import fetch
from partlib.errors import DataError
from partlib.paths import data_dir

FOLDER = "CUB_200_2011"
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
SIZE, SHA256 = 1_150_585_339, "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081"
SEGMENTATIONS_URL = "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz"
SEGMENTATIONS_SIZE, SEGMENTATIONS_SHA256 = (
    39_272_883,
    "dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f",
)
KEYPOINT_NAMES = (
    *("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape"),
    *("right eye", "right leg", "right wing", "tail", "throat"),
)
LISTS = (
    *("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt"),
    *("parts/parts.txt", "parts/part_locs.txt"),
)


@dataclass(frozen=True)
class CubIndex:
    """What the list files say about N images.

    files : N paths under images/.
    labels : (N,) int64, class id - 1, an index into ``class_names``.
    training : (N,) bool.
    boxes : (N, 4) float64 ``(x0, y0, x1, y1)``, first and last pixel of the bird, counted from 0.
    keypoints : (N, 15, 3) float64 ``(x, y, visible)`` in pixels, 0 at the centre of the first; 0 where invisible.
    """

    root: Path
    files: list[str]
    labels: np.ndarray
    training: np.ndarray
    boxes: np.ndarray
    keypoints: np.ndarray
    class_names: tuple[str, ...]

    def image(self, row: int) -> Path:
        return self.root / "images" / self.files[row]

    def name(self, row: int) -> str:
        return Path(self.files[row]).with_suffix("").as_posix()


def read_index(root: Path) -> CubIndex:
    """Read the lists of CUB-200-2011 under ``root``.

    Raises
    ------
    DataError : a list is missing or malformed, or an image lacks its row in one of them; the message names both.
    """
    if not root.is_dir():
        raise DataError(
            f"CUB-200-2011 is not at {root.absolute()}; download it with `partlib data download cub`, or give the "
            f"folder of an existing copy as root, or its parent folder in $PARTLIB_DATA"
        )
    _check_keypoint_names(root / "parts" / "parts.txt")
    images = _rows(root / "images.txt", 2)
    ids, files = [row[0] for row in images], [row[1] for row in images]
    classes = _rows(root / "classes.txt", 2)
    labels = _values(root / "image_class_labels.txt", ids, files, 1)[:, 0]  # (N,)
    strange = ~np.isin(labels, np.arange(1, len(classes) + 1))
    if strange.any():
        raise DataError(
            f"{root / 'image_class_labels.txt'}: {files[int(np.argmax(strange))]} has class {labels[strange][0]:g}; "
            f"expected 1 to {len(classes)} as in classes.txt: correct it, or download the data set again"
        )
    return CubIndex(
        root=root,
        files=files,
        labels=labels.astype(np.int64) - 1,
        training=_values(root / "train_test_split.txt", ids, files, 1)[:, 0] > 0,
        boxes=_boxes(root / "bounding_boxes.txt", ids, files),
        keypoints=_keypoints(root / "parts" / "part_locs.txt", ids, files),
        class_names=tuple(name for _, name in classes),
    )


def _rows(path: Path, columns: int) -> list[list[str]]:
    """The lines of a list file, each split into ``columns`` fields; the last field may hold spaces."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing; expected the original layout with {', '.join(LISTS)}: point root at the folder that "
            "holds them, or run `partlib data download cub`"
        )
    rows = [line.split(maxsplit=columns - 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(
                f"{path}: row {number} is {' '.join(row)!r}; expected {columns} values: it may be cut short, download "
                "the data set again"
            )
    if not rows:
        raise DataError(f"{path} is empty; download the data set again")
    return rows


def _numbers(path: Path, rows: list[list[str]]) -> np.ndarray:
    """``rows`` as (N, columns) float64."""
    try:
        values = np.array(rows, np.float64)
    except ValueError as error:
        raise DataError(f"{path}: expected numbers ({error}); download the data set again") from error
    if not np.isfinite(values).all():
        raise DataError(f"{path}: row {int(np.argmax(~np.isfinite(values).all(1))) + 1} is not finite; correct it")
    return values


def _values(path: Path, ids: list[str], files: list[str], columns: int) -> np.ndarray:
    """The ``columns`` values after the id, (N, columns), in the order of ``ids``."""
    rows = {row[0]: row[1:] for row in _rows(path, columns + 1)}
    for image, file in zip(ids, files, strict=True):
        if image not in rows:
            raise DataError(f"{path}: image {image} ({file}) has no row; add it, or take the image out of images.txt")
    return _numbers(path, [rows[image] for image in ids])


def _boxes(path: Path, ids: list[str], files: list[str]) -> np.ndarray:
    x, y, width, height = _values(path, ids, files, 4).T  # each (N,)
    empty = (width < 1) | (height < 1)
    if empty.any():
        row = int(np.argmax(empty))
        raise DataError(
            f"{path}: the box of image {ids[row]} ({files[row]}) is {width[row]:g} x {height[row]:g} pixels; expected "
            "at least 1 x 1: correct it"
        )
    return np.stack([x - 1, y - 1, x + width - 2, y + height - 2], axis=1)  # (N, 4)


def _keypoints(path: Path, ids: list[str], files: list[str]) -> np.ndarray:
    rows = {(row[0], row[1]): row[2:] for row in _rows(path, 5)}
    for image, file in zip(ids, files, strict=True):
        for k in range(1, len(KEYPOINT_NAMES) + 1):
            if (image, str(k)) not in rows:
                raise DataError(
                    f"{path}: image {image} ({file}) has no row for keypoint {k} ({KEYPOINT_NAMES[k - 1]}); add "
                    "it with visible 0, or take the image out of images.txt"
                )
    values = _numbers(path, [rows[image, str(k)] for image in ids for k in range(1, len(KEYPOINT_NAMES) + 1)])
    keypoints = values.reshape(len(ids), len(KEYPOINT_NAMES), 3)  # (N * 15, 3) -> (N, 15, 3)
    visible = keypoints[..., 2:] > 0  # (N, 15, 1)
    return np.concatenate([np.where(visible, keypoints[..., :2] - 1, 0), visible], axis=-1)


def _check_keypoint_names(path: Path) -> None:
    found = tuple(name for _, name in _rows(path, 2))
    if found != KEYPOINT_NAMES:
        raise DataError(f"{path}: expected CUB's 15 keypoints from back to throat, found {found}; download it again")


def find_segmentations(root: Path) -> Path:
    """Folder of the segmentations, inside ``root`` or beside it."""
    for folder in (root / "segmentations", root.parent / "segmentations"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"{root / 'segmentations'} is missing; the masks are a separate archive: unpack {SEGMENTATIONS_URL} there, or "
        "run `partlib data download cub` with another folder"
    )


def download(
    destination: Path | None = None,
    url: str = URL,
    segmentations_url: str = SEGMENTATIONS_URL,
    sha256: tuple[str | None, str | None] | None = None,
) -> Path:
    """Download images and segmentations (1.2 GB) into ``destination`` and return it.

    Nothing happens where the data set is already. An interrupted download continues where it stopped; the folder
    appears only when complete.

    Parameters
    ----------
    destination : folder to make; None for ``CUB_200_2011`` in ``$PARTLIB_DATA`` or ``./data``.
    url, segmentations_url : addresses of the two archives.
    sha256 : their checksums. None: the known ones for the known addresses; for any other address the first download is
        trusted and its checksum noted, as :func:`partlib.data.fetch.fetch` describes.

    Raises
    ------
    DataError : no network, a web page or another file in place of an archive, or an archive of something else.
    """
    destination = data_dir() / FOLDER if destination is None else Path(destination)
    if destination.exists():
        _verify(destination, f"{destination} exists; remove or rename it to download anew")
        return destination
    known, known_masks = url == URL, segmentations_url == SEGMENTATIONS_URL
    if sha256 is None:
        sha256 = SHA256 if known else None, SEGMENTATIONS_SHA256 if known_masks else None
    folder = destination.parent
    # The large one last: a wrong address of the small one shows at once.
    masks = fetch.fetch(
        segmentations_url,
        folder / "segmentations.tgz",
        sha256[1],
        SEGMENTATIONS_SIZE if known_masks else None,
    )
    images = fetch.fetch(url, folder / "CUB_200_2011.tgz", sha256[0], SIZE if known else None)
    workspace = folder / f".{FOLDER}-unpacking"
    shutil.rmtree(workspace, ignore_errors=True)
    try:
        fetch.extract(images, workspace)
        # The archive holds attributes.txt beside the folder, so that no single top folder can be left out.
        inner = workspace / FOLDER if (workspace / FOLDER).is_dir() else workspace
        fetch.extract(masks, inner / "segmentations")
        _verify(inner, f"{url} is not this data set; remove {images} and {masks}")
        inner.rename(destination)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    images.unlink()
    masks.unlink()
    return destination


def _verify(root: Path, otherwise: str) -> None:
    try:
        read_index(root)
        find_segmentations(root)
    except DataError as error:
        raise DataError(f"{otherwise} (expected a complete copy, but {error})") from error
