"""From photographs of any size to square crops of one size, once: read, crop to the object, resize, keep on disk."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from scipy.io import loadmat

from partlib.data.base import ArrayDataset
from partlib.distributed import progress_bar
from partlib.errors import ConfigError, DataError, brief, listed
from partlib.paths import cached_arrays, check_room, npy_header, save_array

CACHE_VERSION = 2  # raise it whenever this file prepares the same photograph differently
MIN_FOREGROUND = 0.005  # fraction of the photograph; below it there is no object to crop to

MOST_BROKEN = 10  # photographs that cannot be used, after which no more are tried

Square = tuple[int, int, int]  # (left, top, side) in pixels of a photograph; may reach over its edge
Rows = dict[str, np.ndarray]  # what ArrayDataset holds of one image: "images" (S, S, 3), "masks" (S, S), ...
Maker = Callable[[int], Rows | None]  # prepares one image, by its index; None skips it


def read_table(name: str) -> dict[str, Any]:
    """A table from a JSON file beside this one."""
    return json.loads(resources.files("partlib.data").joinpath(name).read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; a mark that some editors put at its head is left out."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not a text in UTF-8 ({brief(error)}); save it as such") from error


def split_of(name: str, val_percent: int, test_percent: int) -> str:
    """Split of one image from its name alone, so that other images move none: SHA-256 modulo 100, lowest are test."""
    bucket = int(hashlib.sha256(os.fsencode(name)).hexdigest(), 16) % 100  # names may be of any encoding
    return "test" if bucket < test_percent else "val" if bucket < test_percent + val_percent else "train"


def names_in(split: str, listed: Sequence[str], hold_out: bool) -> list[str]:
    """Those names of the official test list, or else of the training list, that are in ``split``; a tenth is "val"."""
    everything = split == "test" or (split == "train" and not hold_out)
    return [name for name in listed if everything or split_of(name, val_percent=10, test_percent=0) == split]


def check_fraction(option: str, value: float, highest: float = 1) -> None:
    if not 0 <= value <= highest:
        raise ConfigError(f"{option} is {value}; expected a fraction between 0 and {highest}")


def read_mat(path: Path, what: str, read: Callable[[dict[str, Any]], Any]) -> Any:
    """What ``read`` takes from the variables of a MATLAB 5 file."""
    # scipy's reader meets a damaged or foreign file in any of its steps, with no common type of error.
    try:
        return read(loadmat(path))
    except Exception as error:
        remedy = "it may be cut short: copy, unpack or download it again"
        raise DataError(f"{path}: expected {what}, found {brief(error)}; {remedy}") from error


def square_around(mask: np.ndarray, margin: float) -> Square:
    """Square on the center of the box of ``mask`` (H, W) bool, with ``margin`` of the longer side on all four sides."""
    left, top, right, bottom = Image.fromarray(mask).getbbox() or (0, 0, mask.shape[1], mask.shape[0])
    side = round(max(right - left, bottom - top) * (1 + 2 * margin))
    return round((left + right - side) / 2), round((top + bottom - side) / 2), side


def square_of(shape: Sequence[int]) -> Square:
    """The smallest square around a whole photograph (H, W, ...), on the same center."""
    side = max(shape[:2])
    return -((side - shape[1]) // 2), -((side - shape[0]) // 2), side


def crop_square(array: np.ndarray, square: Square, fill: str) -> np.ndarray:
    """Cut ``square`` out of ``array`` (H, W, ...) -> (side, side, ...); beyond it ``fill`` "edge" or "zero" continues.

    Photographs repeat their edge, as networks would see a black border as one; masks and labels have no object there.
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
    """Resize part labels (S, S) uint8 to the cells of ``mask`` (size, size) bool; 0 elsewhere and where no part is."""
    # Each cell gets the part that covers most of it, the lowest on a tie: the nearest pixel would lose thin parts.
    parts = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    cover = np.stack([np.zeros_like(mask, np.uint8), *(_coverage(labels == part, size) for part in parts)])
    winner = np.append(0, parts)[cover.argmax(axis=0)]  # (1 + P, size, size) -> (size, size)
    return np.where(mask, winner, 0).astype(np.uint8)


def crop_and_resize(photo: np.ndarray, mask: np.ndarray, labels: np.ndarray | None, square: Square, size: int) -> Rows:
    """``square`` of a photograph (H, W, 3) uint8, its mask (H, W) bool and labels (H, W) uint8, at ``size`` pixels."""
    small = resize_mask(crop_square(mask, square, "zero"), size)
    rows = {"images": resize_photo(crop_square(photo, square, "edge"), size), "masks": small.astype(np.uint8) * 255}
    if labels is not None:
        rows["parts"] = resize_labels(crop_square(labels, square, "zero"), small, size)
    return rows


def crop_object(
    photo: np.ndarray,
    mask: np.ndarray,
    labels: np.ndarray | None,
    margin: float,
    size: int,
    full: tuple[int, int] | None = None,  # (H, W) of the file, where the photograph was read in a smaller size
) -> Rows | None:
    """The square around the object with ``margin``, and "squares", where it lies in the file.

    None where the object covers less than MIN_FOREGROUND of the photograph.
    """
    if mask.mean() < MIN_FOREGROUND:
        return None
    square, scale = square_around(mask, margin), (full or mask.shape)[1] / mask.shape[1]
    place = np.array([round(value * scale) for value in square])  # left, top, side
    return crop_and_resize(photo, mask, labels, square, size) | {"squares": place}


def require(files: Sequence[Path], remedy: str) -> None:
    """DataError for the first of ``files`` that is missing."""
    for path in files:
        if not path.is_file():
            raise DataError(f"{path.absolute()} is missing; {remedy}")


def stamps(files: Sequence[Path]) -> list:
    """What stands for files and their content in the key of a cache: where they lie, size, time, some of the bytes.

    Copies keep their time, and corrected masks may keep their size.
    """
    return [(str(path.absolute()), (stat := path.stat()).st_size, stat.st_mtime_ns, sample_of(path)) for path in files]


def sample_of(path: Path, block: int = 16_384) -> str:
    """A hash of the head, the middle and the tail of a file; of all of a small one."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.sha256()
        for start in (0, size // 2, size - block) if size > 3 * block else (0,):
            file.seek(start)
            digest.update(file.read(block if size > 3 * block else size))
    return digest.hexdigest()[:16]


def prepare_once(
    title: str, split: str, names: Sequence[str], files: Sequence[Path], options: dict, make: Maker, **known: Any
) -> ArrayDataset:
    """Prepare every photograph once, ``names[i]`` by ``make(i)``, and keep the result in the cache; for a ``load``."""
    key = [CACHE_VERSION, list(names), stamps(files), options]
    arrays = cached_arrays(f"datasets/{title}", key, lambda folder: _fill(folder, title, names, make))
    kept, skipped, digest = (arrays.pop(field).tolist() for field in ("names", "skipped", "digest"))
    if skipped:
        few = listed(skipped, 5)
        message = f"skipped {len(skipped)} of {len(names)} images without foreground (less than 0.5 %): {few}"
        warnings.warn(message, stacklevel=4)  # the line that called load_dataset
    columns: dict[str, Any] = {"parts": None, "keypoints": None, "labels": np.zeros(len(kept), np.int64)}
    columns |= {field: array[: len(kept)] for field, array in arrays.items()}  # past them lie the rows of the skipped
    return ArrayDataset(**columns, **known, name=title, split=split, names=kept, digest=f"{title}-{digest}-{split}")


def _tried(make: Maker, index: int) -> Rows | DataError | None:
    try:
        return make(index)
    except DataError as error:  # the others are looked at all the same, so that all that is broken can be named
        return error


def _fill(folder: Path, title: str, names: Sequence[str], make: Maker) -> None:
    """Write the arrays of a cache into ``folder``, row by row: a large data set never lies in memory."""
    # ordinary files: where the disk is full, a memory map ends the program without a word
    files: dict[str, IO[bytes]] = {}
    broken: list[DataError] = []
    kept: list[str] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    # Decoding and resizing happen in C without Python's lock, so threads are enough.
    with ExitStack() as stack, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(partial(_tried, make), range(len(names)))  # what is still queued is dropped at an error
        bar = progress_bar(results, f"preparing {title}", len(names), unit="photo")
        row_bytes: dict[str, int] = {}
        for name, rows in zip(names, bar, strict=True):
            if isinstance(rows, DataError):
                broken.append(rows)
                if len(broken) == MOST_BROKEN:
                    break
                continue
            for field, row in (rows or {}).items():
                content = row.tobytes()
                if field not in files:
                    check_room(
                        {field: (len(names), *row.shape)}, f"prepared photographs of {title}", itemsize=row.itemsize
                    )
                    files[field] = stack.enter_context(open(folder / f"{field}.npy", "wb"))
                    files[field].write(npy_header((len(names), *row.shape), row.dtype))
                    row_bytes[field] = len(content)
                files[field].write(content)
                digest.update(content)
            (skipped if rows is None else kept).append(name)
            digest.update(b"" if rows is None else os.fsencode(name))
        if broken:
            others = f"; {len(broken)} of {len(names)} images cannot be used" if len(broken) > 1 else ""
            others += " so far" if len(broken) == MOST_BROKEN else ""
            raise DataError("; ".join(map(str, broken)) + others) from broken[0]
        for field, file in files.items():  # the rows of the skipped, which nobody reads
            for _ in skipped:
                file.write(bytes(row_bytes[field]))
    if not kept:
        raise DataError(f"none of the {len(names)} images has a foreground (0.5 % of its pixels), e.g. {names[0]}")
    for field, value in (("names", kept), ("skipped", skipped), ("digest", digest.hexdigest()[:16])):
        save_array(folder / f"{field}.npy", np.array(value, str))
