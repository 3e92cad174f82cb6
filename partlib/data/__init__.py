"""Data sets: how they are loaded, downloaded and described; each module beside this file is one data set."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from partlib.data.base import SPLITS, ArrayDataset, Batch, PartDataset, Sample, collate
from partlib.errors import ConfigError
from partlib.paths import cache_dir, data_dir

__all__ = ["DATASETS", "LARGEST_SIZE", "SPLITS", "ArrayDataset", "Batch", "PartDataset", "Sample", "collate"]
__all__ += ["describe", "download", "find_loader", "load_dataset", "part_frequencies", "read_options"]

# Each has load(split, root, image_size, **options) -> PartDataset in the module of its name; FOLDER is its usual root.
DATASETS = ("birds", "ccp", "cub", "deepfashion", "folder", "pascal-part")
LARGEST_SIZE = {"birds": 512}  # side in pixels; 1024 for the others


def find_loader(name: str) -> Any:
    """The module of a data set, imported on first use: one should not pay for the libraries of another."""
    if name not in DATASETS:
        raise ConfigError(f"data set {name!r} is unknown; expected one of {', '.join(DATASETS)}")
    return import_module(f"partlib.data.{name.replace('-', '_')}")


def load_dataset(
    name: str, split: str = "train", root: str | Path | None = None, image_size: int = 128, **options: Any
) -> PartDataset:
    """Load one split ("train", "val" or "test") of a data set as square images of ``image_size`` pixels.

    ``root`` is its folder, None for its usual one in ``$PARTLIB_DATA`` or ``./data``; ``options`` go to its ``load``.
    """
    module, largest = find_loader(name), LARGEST_SIZE.get(name, 1024)
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    if not 16 <= image_size <= largest:
        raise ConfigError(f"image_size is {image_size}; {name} comes with sides from 16 to {largest} pixels")
    return module.load(split, usual_root(name, root), image_size, **options)


def usual_root(name: str, root: str | Path | None = None) -> Path | None:
    """The folder of a data set: ``root`` where given, else its usual one, None where it has none."""
    folder = getattr(find_loader(name), "FOLDER", None)
    return Path(root) if root is not None else data_dir() / folder if folder else None


WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (lambda text: WORDS[text.lower()], "true or false"),
    Sequence[int]: (lambda text: tuple(map(int, text.split(","))), "whole numbers with commas, as in 1,2,3"),
    **{int: (int, "a whole number"), float: (float, "a number"), str: (str, "text")},
}


def read_options(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """Options for ``load_dataset(name, ...)`` from texts such as "classes=1,2,3", read as the loader's hints say."""
    hints = get_type_hints(find_loader(name).load)
    kinds = {key: [kind for kind in (hint, *get_args(hint)) if kind in READERS] for key, hint in hints.items()}
    known = {key: READERS[kinds[key][0]] for key in kinds if kinds[key] and key not in ("split", "image_size")}
    options = {}
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        key = key.replace("-", "_")
        if key not in known or not value:
            raise ConfigError(f"data option {text!r}: expected key=value; {name} has these keys: {', '.join(known)}")
        try:
            options[key] = known[key][0](value)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"data option {key} is {value!r}; expected {known[key][1]}") from error
    return options


def download(name: str, root: Path | None = None) -> Path:
    """Download a data set into ``root``, unless it is there, and return that folder."""
    loader = find_loader(name)
    if not hasattr(loader, "ARCHIVES"):
        raise ConfigError(f"data set {name!r} has nothing to download; see data/README.md for where it comes from")
    from partlib.data.fetch import install

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
        for part, *row in zip(last.part_names, *map(part_frequencies, splits), strict=True):
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
