"""What the exporters of :mod:`partlib.data.export` share."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from partlib.data.base import PartDataset, Sample
from partlib.errors import DataError


def as_list(datasets: PartDataset | Sequence[PartDataset]) -> list[PartDataset]:
    """One data set or several, as a list; names must be unique over all of them."""
    return [datasets] if isinstance(datasets, PartDataset) else list(datasets)


@contextmanager
def new_folder(root: str | Path) -> Iterator[Path]:
    """A folder to write into that gets the name ``root`` when the block ends without an error.

    Raises
    ------
    DataError : ``root`` exists and is not an empty folder.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} exists already; remove it, or export to another folder")
    root.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        yield workspace
        workspace.chmod(0o755)  # temporary folders are private to their owner
        if root.exists():
            root.rmdir()
        os.replace(workspace, root)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def pixels(sample: Sample) -> np.ndarray:
    """The image of a sample, (H, W, 3) uint8."""
    return (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)  # (H, W, 3)


def foreground(sample: Sample) -> np.ndarray:
    """The foreground of a sample, (H, W) bool."""
    return sample.foreground[0].numpy() >= 0.5


def write_jpeg(image: np.ndarray, path: Path) -> None:
    """(H, W, 3) uint8 as a JPEG of high quality, without halving the resolution of its colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def write_png(values: np.ndarray, path: Path) -> None:
    """(H, W) or (H, W, 3) uint8 as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def require_parts(dataset: PartDataset, sample: Sample) -> np.ndarray:
    """Part labels of a sample, (H, W) uint8; DataError where it has none."""
    if sample.parts is None:
        raise DataError(f"{sample.name} of {dataset.name!r} has no parts; expected a data set with part labels")
    return sample.parts.numpy().astype(np.uint8)
