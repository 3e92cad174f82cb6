"""What is in a data set and where it lies: the text of ``partlib data info`` and the door to downloads."""

from pathlib import Path

import numpy as np

from partlib.data import SPLITS, find_loader, load_dataset
from partlib.data.base import ArrayDataset, PartDataset
from partlib.data.fetch import install
from partlib.errors import ConfigError
from partlib.paths import cache_dir, data_dir


def download(name: str, root: Path | None = None) -> Path:
    """Download a data set into ``root``, unless it is there, and return that folder."""
    loader = find_loader(name)
    if not hasattr(loader, "ARCHIVES"):
        raise ConfigError(f"data set {name!r} has nothing to download; see data/README.md for where it comes from")
    return install(root or data_dir() / loader.FOLDER, loader.ARCHIVES, loader.check)


def describe(name: str, root: Path | None = None, image_size: int = 128, **options) -> str:
    """Counts per split, how much of the foreground each part holds, sizes, and where the files are."""
    splits = [load_dataset(name, split, root, image_size, **options) for split in SPLITS]
    last = splits[-1]
    lines = [f"{name}: {image_size} x {image_size} pixels"]
    lines += [f"  {dataset.split:6}{len(dataset):6} images" for dataset in splits]
    counts = f"{len(last.part_names)} parts, {len(last.keypoint_names)} keypoints"
    lines.append(f"  {counts}, {len(last.label_names) or 'no'} labels")
    if last.part_names:
        lines.append(f"  share of the foreground  {'  '.join(f'{split:>6}' for split in SPLITS)}")
        shares = np.stack([part_frequencies(dataset) for dataset in splits], axis=1)  # (P, 3)
        for part, row in zip(last.part_names, shares, strict=True):
            lines.append(f"    {part:22} " + "  ".join(f"{share:6.1%}" for share in row))
    lines.append(f"  files: {last.root or 'none, the images are generated'}; prepared copies: {cache_dir().resolve()}")
    return "\n".join(lines)


def part_frequencies(dataset: PartDataset) -> np.ndarray:
    """Fraction of the foreground that each part holds, (P,); zeros where there is no annotation."""
    count = np.zeros(len(dataset.part_names) + 1)
    if isinstance(dataset, ArrayDataset) and dataset.parts is not None:
        for parts in dataset.parts:
            count += np.bincount(parts.ravel(), minlength=len(count))
    return count[1:] / max(count[1:].sum(), 1)
