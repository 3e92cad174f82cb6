"""Where data sets, caches and runs live, and the one way in which files are written: whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def data_dir() -> Path:
    """Folder that holds data sets: ``$PARTLIB_DATA`` where set, else ``./data``."""
    return Path(os.environ.get("PARTLIB_DATA") or "data")


def cache_dir() -> Path:
    """Folder for everything that can be computed again: ``$PARTLIB_CACHE`` where set, else ``./data/cache``."""
    return Path(os.environ.get("PARTLIB_CACHE") or "data/cache")


def runs_dir() -> Path:
    """Folder for training runs: ``$PARTLIB_RUNS`` where set, else ``./runs``."""
    return Path(os.environ.get("PARTLIB_RUNS") or "runs")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write(temporary)`` and move the result, a file or a folder, to ``path``: nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        if path.is_dir():
            shutil.rmtree(path)  # what another process has made meanwhile, or half a folder of an older version
        os.replace(temporary, path)


def cached_arrays(name: str, key: object, make: Callable[[Path], object]) -> dict[str, np.ndarray]:
    """Arrays by name, memory-mapped, from the cache; ``make(folder)`` saves them there as ``.npy`` the first time.

    ``key`` tells them from all others, as JSON: arguments, and the content of the files that they come from.
    """
    digest = hashlib.sha256(json.dumps([name, key], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{name}-{digest}"

    def fill(temporary: Path) -> None:
        temporary.mkdir()
        make(temporary)

    if not folder.is_dir():
        write_atomically(folder, fill)
    return {file.stem: np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))}
