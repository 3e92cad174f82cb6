"""From photographs of any size to square crops of one size, once: read, crop to the object, resize, keep on disk.

Shared by the data sets of real photographs (:mod:`partlib.data.ccp`, :mod:`partlib.data.folder`).
"""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from partlib.data.base import ArrayDataset
from partlib.errors import ConfigError, DataError
from partlib.paths import cache_dir

CACHE_VERSION = 1  # raise it whenever this file prepares the same photograph differently
MIN_FOREGROUND = 0.005  # fraction of the photograph; below it there is no object to crop to

Rows = dict[str, np.ndarray]


def split_of(name: str, val_percent: int, test_percent: int) -> str:
    """Split of one image, from its name alone: SHA-256 modulo 100, lowest values to test, next to val, rest to train.

    The other images of the data set play no role, so any subset, and any addition, leaves the split as it was.
    """
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    if bucket < test_percent:
        return "test"
    return "val" if bucket < test_percent + val_percent else "train"


def read_photo(path: Path) -> np.ndarray:
    """Pixels of an image file, upright, (H, W, 3) uint8 RGB.

    The EXIF orientation that cameras write is applied. Transparency is ignored.

    Raises
    ------
    DataError : the file is not an image, is cut short, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as file:
            file.load()
            photo = ImageOps.exif_transpose(file)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path}: expected a whole image file, but it cannot be decoded ({error}); "
            "it may be cut short: copy or download it again, or remove it"
        ) from error
    if photo.mode[0] in "IF":
        raise DataError(f"{path}: expected 8 bits per channel, found mode {photo.mode!r}; save it as an 8-bit image")
    return np.asarray(photo.convert("RGB"))


def square_around(mask: np.ndarray, margin: float) -> tuple[int, int, int]:
    """Square ``(left, top, side)`` in pixels around the true pixels of ``mask`` (H, W), on the same centre.

    ``margin`` is added on each of the four sides, as a fraction of the longer side of the bounding box. The square
    may reach over the edge of the image. ``mask`` must hold at least one true pixel.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    side = round(max(height, width) * (1 + 2 * margin))
    left = round((columns[0] + columns[-1] + 1 - side) / 2)
    top = round((rows[0] + rows[-1] + 1 - side) / 2)
    return left, top, side


def crop_square(array: np.ndarray, square: tuple[int, int, int], fill: str) -> np.ndarray:
    """Cut ``square`` out of ``array`` (H, W, ...) -> (side, side, ...).

    Outside the array, ``fill="edge"`` repeats the nearest pixel (photographs: a black border would be an edge that the
    networks see) and ``fill="zero"`` gives 0 (masks and labels: there is no object).
    """
    left, top, side = square
    height, width = array.shape[:2]
    rows, columns = np.arange(top, top + side), np.arange(left, left + side)
    cut = array[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    if fill == "zero":
        cut[(rows < 0) | (rows >= height)] = 0
        cut[:, (columns < 0) | (columns >= width)] = 0
    return cut


def resize_photo(photo: np.ndarray, size: int) -> np.ndarray:
    """Antialiased (Lanczos) resize of (S, S, 3) uint8 to (size, size, 3) uint8."""
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


def _coverage(mask: np.ndarray, size: int) -> np.ndarray:
    """How much of each of size x size cells the true pixels of ``mask`` (S, S) cover, 0..255 uint8."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX))


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a boolean (S, S) to (size, size): true where the object covers at least half of the cell."""
    return _coverage(mask, size) >= 128


def resize_labels(labels: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Resize part labels (S, S) uint8, 0 = background, to the cells of ``mask`` (size, size) bool; 0 elsewhere.

    Each cell gets the part that covers most of it, the lowest label on a tie. Interpolating labels would invent parts
    (halfway between 1 and 3 is not 2), and nearest-neighbour sampling loses whatever is thinner than a cell. The
    background does not take part, so that the foreground stays the same however the parts are merged. A cell of the
    mask without any part stays 0.
    """
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:]) + 1
    if not len(present):
        return np.zeros((size, size), np.uint8)
    cover = np.stack([_coverage(labels == part, size) for part in present])  # (P, size, size)
    winner = present[cover.argmax(axis=0)]  # (size, size)
    return np.where(mask & (cover.max(axis=0) > 0), winner, 0).astype(np.uint8)


def prepare_crop(
    photo: np.ndarray, mask: np.ndarray, labels: np.ndarray | None, margin: float, size: int
) -> Rows | None:
    """Crop and resize one photograph to its object.

    Parameters
    ----------
    photo : (H, W, 3) uint8.
    mask : (H, W) bool, true on the object.
    labels : (H, W) uint8 part labels, 0 = background, or None.
    margin : see :func:`square_around`.
    size : side of the result in pixels.

    Returns
    -------
    ``{"image": (size, size, 3), "mask": (size, size) of 0 or 255, "parts": (size, size)}``, all uint8, "parts" only
    with labels. None where the object covers less than ``MIN_FOREGROUND`` of the photograph.
    """
    if mask.mean() < MIN_FOREGROUND:
        return None
    square = square_around(mask, margin)
    small_mask = resize_mask(crop_square(mask, square, "zero"), size)
    rows = {
        "image": resize_photo(crop_square(photo, square, "edge"), size),
        "mask": small_mask.astype(np.uint8) * 255,
    }
    if labels is not None:
        rows["parts"] = resize_labels(crop_square(labels, square, "zero"), small_mask, size)
    return rows


def check_margin(margin: float) -> None:
    """Raise ConfigError unless ``margin`` is between 0 and 1."""
    if not 0 <= margin <= 1:
        raise ConfigError(f"margin is {margin}; expected a fraction between 0 and 1 of the object's longer side")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: memory-mapped ``arrays`` with one row per entry of ``names``.

    ``skipped`` names the photographs without a foreground; ``digest`` identifies the pixels; ``folder`` is the cache.
    """

    arrays: Rows
    names: list[str]
    skipped: list[str]
    digest: str
    folder: Path

    def warn_skipped(self) -> None:
        """One warning that counts the skipped photographs, shown at the line that called ``load_dataset``."""
        if self.skipped:
            names = ", ".join(self.skipped[:5]) + (", ..." if len(self.skipped) > 5 else "")
            total = len(self.skipped) + len(self.names)
            message = f"skipped {len(self.skipped)} of {total} images without foreground (less than 0.5 %): {names}"
            warnings.warn(message, stacklevel=4)

    def dataset(self, title: str, split: str, chosen: Sequence[int], **attributes) -> ArrayDataset:
        """The rows ``chosen``, which must be one run, as a data set on the memory maps; nothing is copied."""
        rows = slice(chosen[0], chosen[-1] + 1)
        return ArrayDataset(
            images=self.arrays["image"][rows],
            foreground=self.arrays["mask"][rows],
            parts=self.arrays["parts"][rows] if "parts" in self.arrays else None,
            keypoints=None,
            labels=np.zeros(len(chosen), np.int64),
            names=self.names[rows],
            fingerprint=f"{title}-{self.digest}-{split}",
            name=title,
            split=split,
            skipped=self.skipped,
            cache=self.folder,
            **attributes,
        )


def prepare_once(
    title: str,
    names: Sequence[str],
    files: Sequence[Path],
    options: dict,
    make: Callable[[int], Rows | None],
) -> Prepared:
    """Prepare every photograph once and keep the result under ``cache_dir()``; later calls map it into memory.

    The cache is keyed by the names, sizes and times of ``files``, by ``options`` and by ``CACHE_VERSION``: a change of
    any of these prepares anew. It appears under its final name only when complete, so an interrupted run leaves no
    half-written cache and two processes may prepare at the same time.

    Parameters
    ----------
    title : name of the data set, for the folder and the progress bar.
    names : one per photograph, in the order of the rows.
    files : every file that the result depends on.
    options : what else it depends on; JSON values.
    make : index into ``names`` -> the rows of that photograph, or None to skip it. Runs in threads.
    """
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = json.dumps([CACHE_VERSION, list(names), stamps, options], sort_keys=True)
    folder = cache_dir() / "datasets" / f"{title}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(tempfile.mkdtemp(prefix=f".{title}-", dir=folder.parent))
        try:
            _fill(workspace, title, names, make)
            _publish(workspace, folder)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    return _open(folder)


def _fill(folder: Path, title: str, names: Sequence[str], make: Callable[[int], Rows | None]) -> None:
    """Write the arrays and ``meta.json`` of a cache into ``folder``."""
    arrays: Rows = {}
    kept: list[str] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    # Decoding and resizing happen in C without Python's lock, so threads are enough.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = tqdm(pool.map(make, range(len(names))), f"preparing {title}", len(names), unit="photo")
        try:
            for name, rows in zip(names, results, strict=True):
                if rows is None:
                    skipped.append(name)
                    continue
                for field, row in rows.items():
                    if field not in arrays:
                        shape = (len(names), *row.shape)
                        arrays[field] = np.lib.format.open_memmap(folder / f"{field}.npy", "w+", np.uint8, shape)
                    arrays[field][len(kept)] = row
                    digest.update(row.tobytes())
                kept.append(name)
                digest.update(name.encode())
        except BaseException:  # an error or Ctrl-C should not wait for the photographs that are still queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not kept:
        raise DataError(
            f"none of the {len(names)} images has a foreground (at least 0.5 % of its pixels), e.g. {names[0]}"
        )
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]  # a memmap
    meta = {"fields": list(arrays), "names": kept, "skipped": skipped, "digest": digest.hexdigest()[:16]}
    (folder / "meta.json").write_text(json.dumps(meta))


def _publish(workspace: Path, folder: Path) -> None:
    """Give a complete cache its final name, unless another process was first."""
    try:
        os.replace(workspace, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _open(folder: Path) -> Prepared:
    try:
        meta = json.loads((folder / "meta.json").read_text())
        kept = len(meta["names"])
        # Rows of skipped photographs are unused space at the end.
        arrays = {field: np.load(folder / f"{field}.npy", mmap_mode="r")[:kept] for field in meta["fields"]}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder}: this cache is damaged ({error}); delete the folder, it will be made anew"
        ) from error
    return Prepared(arrays, meta["names"], meta["skipped"], meta["digest"], folder)
