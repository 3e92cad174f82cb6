"""What the exporters share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from partlib.data.base import PartDataset, Sample
from partlib.errors import DataError
from partlib.paths import write_atomically

Sources = PartDataset | Sequence[PartDataset]  # one data set, or several splits of one with names that differ


def as_list(datasets: Sources) -> list[PartDataset]:
    return [datasets] if isinstance(datasets, PartDataset) else list(datasets)


def samples(datasets: Sources) -> Iterator[tuple[int, PartDataset, Sample]]:
    """All samples, counted from 1, with their data sets."""
    pairs = ((dataset, dataset[i]) for dataset in as_list(datasets) for i in range(len(dataset)))
    return ((number, dataset, sample) for number, (dataset, sample) in enumerate(pairs, 1))


def write_folder(root: str | Path, write: Callable[[Path], None]) -> Path:
    """Make the folder ``root`` with what ``write(folder)`` writes; an existing one must be empty."""
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(f"{root} exists already; remove it, or export to another folder")
    write_atomically(root, write)
    return root


def pixels(sample: Sample) -> np.ndarray:
    """The image of a sample, (H, W, 3) uint8."""
    return (sample.image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def foreground(sample: Sample) -> np.ndarray:
    """The foreground of a sample, (H, W) bool."""
    return sample.foreground[0].numpy() >= 0.5


def part_labels(dataset: PartDataset, sample: Sample) -> np.ndarray:
    """Part labels of a sample, (H, W) uint8."""
    if sample.parts is None:
        raise DataError(f"{sample.name} of {dataset.name!r} has no parts; expected a data set with part labels")
    return sample.parts.numpy().astype(np.uint8)


def write_image(values: np.ndarray, path: Path) -> None:
    """(H, W) or (H, W, 3) uint8 as a PNG, or as a JPEG of high quality that keeps the resolution of its colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(values).save(path, **options)  # type: ignore[arg-type]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
