"""Where data sets, caches and runs live, and the one way in which files are written: whole or not at all."""

import errno
import hashlib
import io
import json
import math
import mmap
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from partlib.errors import ConfigError, listed

fcntl: Any
try:
    import fcntl
except ImportError:  # on Windows two processes should not fill one cache at the same time
    fcntl = None

LOCK = ".lock"
SIZES = "sizes.json"  # of the files of a cache: those that were cut short, or deleted, are noticed
TEMPORARY = ".partlib-"  # begins the names of folders that are not yet what they shall be

Shapes = dict[str, tuple[int, ...]]
Rows = dict[str, np.ndarray]  # (n, ...) by name, the next n rows of every array


def data_dir() -> Path:
    """Folder that holds data sets: ``$PARTLIB_DATA`` where set, else ``./data``."""
    return Path(os.environ.get("PARTLIB_DATA") or "data")


def cache_dir() -> Path:
    """Folder for everything that can be computed again: ``$PARTLIB_CACHE`` where set, else ``./data/cache``."""
    return Path(os.environ.get("PARTLIB_CACHE") or "data/cache")


def runs_dir() -> Path:
    """Folder for training runs: ``$PARTLIB_RUNS`` where set, else ``./runs``."""
    return Path(os.environ.get("PARTLIB_RUNS") or "runs")


def masks_dir(data: str) -> Path:
    """Folder that ``partlib masks`` writes into for a data set: its masks/, the network, a report."""
    return runs_dir() / "masks" / data


@contextmanager
def named(path: Path, inside: Path | None = None) -> Iterator[None]:
    """Errors of the system that name no file, or one ``inside`` a temporary folder, name ``path``."""
    try:
        yield
    except OSError as error:
        temporary = inside is not None and str(error.filename).startswith(f"{inside}{os.sep}")
        if error.errno is not None and (error.filename is None or temporary):
            error.filename, error.filename2 = str(path), None
        raise


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)`` and move the result, a file or a folder, to ``path``: nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=TEMPORARY) as folder:
        temporary = Path(folder) / path.name
        with named(path, Path(folder)):
            write(temporary)
            if path.is_dir():
                shutil.rmtree(path)  # half a folder of an older version
            os.replace(temporary, path)


def cached_arrays(name: str, key: object, make: Callable[[Path], object]) -> dict[str, np.ndarray]:
    """Arrays by name, memory-mapped, from the cache; ``make(folder)`` saves them there as ``.npy`` the first time.

    ``key`` tells them from all others, as JSON: arguments, and the content of the files that they come from.
    """
    folder = _place(name, key)
    if not _whole(folder):
        with _filling(folder) as partial:
            if partial is not None:
                _empty(partial)  # what a killed process has left
                try:
                    make(partial)
                except BaseException:
                    _empty(partial)
                    raise
    return _mapped(folder)


def cached_rows(
    name: str,
    key: object,
    plan: Callable[[], tuple[str, Shapes, Callable[[int], Iterator[Rows]]]],
    limit_gb: float = math.inf,
) -> dict[str, np.ndarray]:
    """float16 arrays like those of :func:`cached_arrays`, too long in the making to be started over.

    ``plan()`` says what they are, their shapes (N, ...), and ``make(first)``, which yields the rows from ``first`` on.
    Rows are appended to files; whoever comes after an interruption, a kill included, goes on behind the last whole row.
    """
    folder = _place(name, key)
    if not _whole(folder):
        with _filling(folder) as partial, ExitStack() as stack:
            if partial is not None:
                what, shapes, make = plan()
                paths = {n: partial / f"{n}.npy" for n in shapes}
                first = min(_whole_rows(paths[n], shape) for n, shape in shapes.items())
                check_room({n: (shape[0] - first, *shape[1:]) for n, shape in shapes.items()}, what, limit_gb)
                files = {n: stack.enter_context(open(path, "ab")) for n, path in paths.items()}
                for n, shape in shapes.items():
                    _cut(files[n], shape, first)
                for rows in make(first):
                    for n, values in rows.items():
                        files[n].write(np.ascontiguousarray(values, np.float16).tobytes())
                        files[n].flush()
    return _mapped(folder)


@contextmanager
def _filling(folder: Path) -> Iterator[Path | None]:
    """Where to put what shall be ``folder``; None where another process has made it while this one waited."""
    partial = folder.with_name(f".{folder.name}.part")
    _make_cache(partial)
    with open(partial / "lock", "wb") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the process
        if _whole(folder):
            yield None
            return
        if folder.is_dir():
            warnings.warn(f"{folder} is damaged; it is made again", stacklevel=4)
            shutil.rmtree(folder)
        with _cache_full(), named(partial):
            yield partial
            sizes = {file.name: file.stat().st_size for file in partial.glob("*.npy")}
            (partial / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
        (partial / "lock").unlink()
        os.replace(partial, folder)


def _whole(folder: Path) -> bool:
    """Whether a folder of the cache is there with all its files, of the sizes that they had."""
    if not (folder / SIZES).is_file():  # not there, or of an older version, which kept no list
        return folder.is_dir()
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def _cache_full() -> Iterator[None]:
    """A full disk is an error that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: {error.strerror}"
        raise ConfigError(f"{where}; make room and run it again, or set PARTLIB_CACHE to a larger disk") from error


def _empty(partial: Path) -> None:
    for file in partial.glob("*.npy"):
        file.unlink()


def claim(folder: Path, mark: str, *others: str) -> None:
    """ConfigError unless a folder is new, empty, or a command's own, which its file ``mark`` tells.

    Files called as ``others`` may be there without it, from a call that was killed before it wrote it.
    """
    if not folder.is_dir() or (folder / mark).is_file():
        return
    strange = sorted(path.name for path in folder.iterdir() if path.name not in (LOCK, *others))
    strange = [name for name in strange if not name.startswith(TEMPORARY)]
    if strange:
        raise ConfigError(
            f"{folder} holds other files ({listed(strange)}); pass another --out, so that none is replaced"
        )


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """ConfigError where another process is at work in a folder; an empty one is left behind by nobody."""
    if folder is None or fcntl is None:
        yield
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; expected a folder, or none of that name: pass another --out")
    new = [place for place in folder.parents if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    try:
        with open(path, "wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
            except BlockingIOError as error:
                raise ConfigError(
                    f"{folder}: another run is at work here; wait for it, or pass another --out"
                ) from error
            try:
                for left in folder.glob(f"{TEMPORARY}*"):  # by a process that was killed
                    shutil.rmtree(left)
                yield
            finally:
                path.unlink(missing_ok=True)
    finally:
        for place in (folder, *new):
            with suppress(OSError):
                place.rmdir()  # only if it is empty


def gigabytes(shapes: Shapes, itemsize: int = 2) -> float:
    """10^9 bytes that arrays take, by default of float16."""
    return itemsize * sum(map(math.prod, shapes.values())) / 1e9


def check_room(shapes: Shapes, what: str, limit_gb: float = math.inf, itemsize: int = 2) -> None:
    """ConfigError where arrays, by default of float16, are too large for the cache."""
    size, free = gigabytes(shapes, itemsize), shutil.disk_usage(cache_dir()).free / 1e9
    if size > min(free, limit_gb):
        found = f"{what} would take {_amount(size)}; {cache_dir()} has {_amount(free)} free"
        found += f" and the limit is {limit_gb:g} GB" if limit_gb < math.inf else ""
        raise ConfigError(f"{found}; set PARTLIB_CACHE to a larger disk, or take fewer images, views or pixels")


def _amount(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GB" if gigabytes >= 0.1 else f"{1000 * gigabytes:.1f} MB"


def _make_cache(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = f"{cache_dir().absolute()} cannot be written ({error.strerror})"
        raise ConfigError(f"{where}, where caches are kept; set PARTLIB_CACHE to a folder of yours") from error


def _place(name: str, key: object) -> Path:
    digest = hashlib.sha256(json.dumps([name, key], sort_keys=True).encode()).hexdigest()[:16]
    return cache_dir() / f"{name}-{digest}"


def _mapped(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}


def read(array: np.ndarray | Tensor, index: Any = slice(None)) -> Tensor:
    """``array[index]``; what was read of a memory-mapped array is copied and then leaves this process's memory.

    Reading it again costs little: the system itself keeps what it read of a file for as long as it has room.
    """
    values, mapped = array[index], getattr(array, "_mmap", None)
    if getattr(values, "_mmap", None) is not None:  # a slice is still a part of the file
        values = np.array(values)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
    return torch.as_tensor(values)


def save_array(path: Path, array: np.ndarray) -> None:
    """An array as ``.npy``; numpy's own writing reports a full disk as an error without a number."""
    with open(path, "wb") as file:
        file.write(npy_header(array.shape, array.dtype))
        file.write(np.ascontiguousarray(array).tobytes())


def npy_header(shape: tuple[int, ...], dtype: Any = np.float16) -> bytes:
    """The first bytes of a ``.npy`` file."""
    text, kind = io.BytesIO(), np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(text, {"descr": kind, "fortran_order": False, "shape": shape})
    return text.getvalue()


def _whole_rows(path: Path, shape: tuple[int, ...]) -> int:
    """Rows of an array of ``shape`` that an unfinished file holds."""
    held = path.stat().st_size - len(npy_header(shape)) if path.is_file() else 0
    return max(0, held) // (2 * math.prod(shape[1:]))


def _cut(file: IO[bytes], shape: tuple[int, ...], rows: int) -> None:
    """Shorten an unfinished file to so many rows; of a new one write the header."""
    if file.tell() < len(npy_header(shape)):
        file.truncate(0)
        file.write(npy_header(shape))
    else:
        file.truncate(len(npy_header(shape)) + rows * 2 * math.prod(shape[1:]))
