"""What is in a data set and where it lies: the text of ``partlib data info`` and the door to downloads."""

from importlib import import_module
from pathlib import Path

import numpy as np

from partlib.data import DATASETS, SPLITS, load_dataset
from partlib.data.base import ArrayDataset, PartDataset
from partlib.errors import ConfigError, DataError
from partlib.paths import cache_dir


def download(name: str, root: Path | None = None) -> Path:
    """Fetch a data set that can be downloaded; returns its folder.

    Raises
    ------
    ConfigError : unknown data set, or one that is not downloaded but made or brought by the user.
    """
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is unknown; expected one of {', '.join(sorted(DATASETS))}")
    fetch = getattr(import_module(DATASETS[name]), "download", None)
    if fetch is None:
        raise ConfigError(f"data set {name!r} has nothing to download; see data/README.md for where it comes from")
    return fetch(root)


def describe(name: str, root: Path | None = None, image_size: int = 128, **options) -> str:
    """Counts per split, how much of the foreground each part holds, sizes, and where the files are.

    ``options`` are those of ``load_dataset``.
    """
    lines, shares = [], {}
    dataset: PartDataset | None = None
    for split in SPLITS:
        dataset = load_dataset(name, split, root, image_size, **options)
        lines.append(f"  {split:6}{len(dataset):6} images")
        shares[split] = part_frequencies(dataset)
    assert dataset is not None
    head = [f"{name}: {image_size} x {image_size} pixels", *lines]
    labels = len(dataset.label_names)
    head.append(f"  {len(dataset.part_names)} parts, {len(dataset.keypoint_names)} keypoints, {labels or 'no'} labels")
    if dataset.part_names:
        head.append(f"  share of the foreground  {'  '.join(f'{split:>6}' for split in SPLITS)}")
        for k, part in enumerate(dataset.part_names):
            head.append(f"    {part:22} " + "  ".join(f"{shares[split][k]:6.1%}" for split in SPLITS))
    head.append(
        f"  files: {dataset.root or 'none, the images are generated'}; prepared copies: {cache_dir().resolve()}"
    )
    return "\n".join(head)


def part_frequencies(dataset: PartDataset) -> np.ndarray:
    """Fraction of the foreground that each part holds, (P,); zeros where there is no annotation."""
    count = np.zeros(len(dataset.part_names) + 1)
    if isinstance(dataset, ArrayDataset) and dataset.parts is not None:
        count += np.bincount(np.asarray(dataset.parts).ravel(), minlength=len(count))
    elif dataset.part_names:
        for i in range(len(dataset)):
            parts = dataset[i].parts
            if parts is None:
                raise DataError(f"{dataset[i].name} of {dataset.name} has no parts although the data set names some")
            count += np.bincount(parts.numpy().ravel(), minlength=len(count))
    return count[1:] / max(count[1:].sum(), 1)
