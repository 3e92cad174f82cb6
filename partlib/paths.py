"""Where data sets, caches and runs live. One place decides, every other module asks here."""

import os
from pathlib import Path


def data_dir() -> Path:
    """Folder that holds data sets: ``$PARTLIB_DATA`` where set, else ``./data``."""
    return Path(os.environ.get("PARTLIB_DATA") or "data")


def cache_dir() -> Path:
    """Folder for everything that can be computed again: ``$PARTLIB_CACHE`` where set, else ``./data/cache``."""
    return Path(os.environ.get("PARTLIB_CACHE") or "data/cache")


def runs_dir() -> Path:
    """Folder for training runs: ``$PARTLIB_RUNS`` where set, else ``./runs``."""
    return Path(os.environ.get("PARTLIB_RUNS") or "runs")
