"""Data sets. ``load_dataset`` is the one door; each module beside this file is one data set."""

from importlib import import_module
from pathlib import Path

from partlib.data.base import SPLITS, ArrayDataset, Batch, PartDataset, Sample, collate
from partlib.errors import ConfigError

__all__ = [
    "DATASETS",
    "LARGEST_SIZE",
    "SPLITS",
    "ArrayDataset",
    "Batch",
    "PartDataset",
    "Sample",
    "collate",
    "load_dataset",
]

# Each module has load(split, root, image_size, **options) -> PartDataset. Imported on first use: one data set should
# not pay for the libraries of another.
DATASETS = {
    "birds": "partlib.data.birds",
    "ccp": "partlib.data.ccp",
    "cub": "partlib.data.cub",
    "deepfashion": "partlib.data.deepfashion",
    "folder": "partlib.data.folder",
    "pascal-part": "partlib.data.pascal_part",
}
LARGEST_SIZE = {"birds": 512}  # side in pixels; 1024 for the others


def load_dataset(
    name: str, split: str = "train", root: str | Path | None = None, image_size: int = 128, **options
) -> PartDataset:
    """Load one split of a data set.

    Parameters
    ----------
    name : one of ``DATASETS``.
    split : "train", "val" or "test".
    root : folder of the data set; None for the default place (``$PARTLIB_DATA`` or ``./data``), or for "birds".
    image_size : side of the square images in pixels.
    options : passed on to the data set's own ``load``.

    Raises
    ------
    ConfigError : unknown name, split or size.
    DataError : the files are missing or broken; the message names them.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is unknown; expected one of {', '.join(sorted(DATASETS))}")
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    largest = LARGEST_SIZE.get(name, 1024)
    if not 16 <= image_size <= largest:
        raise ConfigError(f"image_size is {image_size}; {name} comes with sides from 16 to {largest} pixels")
    module = import_module(DATASETS[name])
    return module.load(split, None if root is None else Path(root), image_size, **options)
