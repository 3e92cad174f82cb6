"""Write a data set with parts in the layout of PASCAL-Part."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from partlib.data.pascal_part import PART_NAMES
from partlib.errors import ConfigError
from tests.export.common import (
    Sources,
    as_list,
    foreground,
    part_labels,
    pixels,
    samples,
    write_folder,
    write_image,
    write_lines,
)

# Parts of the drawn birds -> parts of VOC's birds. VOC has no back, so it goes under "neck".
BIRD_PARTS = {"head": "head", "beak": "beak", "breast": "torso", "back": "neck", "wing": "lwing", "tail": "tail"}
BIRD_PARTS["legs"] = "lleg"


def export_pascal_part(
    datasets: Sources, root: str | Path, category: str = "bird", part_names: Mapping[str, str] = BIRD_PARTS
) -> Path:
    """Write one data set, or several splits of one, for ``load_dataset("pascal-part", root=root, category=category)``.

    Samples of a "test" split go to VOC's val list, all others to its train list, of which the loader keeps a tenth for
    "val". Images are named 2010_000001, ... in the order of the samples. Photographs are JPEG files of quality 95;
    masks and parts are exact. ``part_names``: names of the data set's parts -> names of the category's parts.
    """
    known = PART_NAMES.get(category, ())
    for dataset in as_list(datasets):
        for name in dataset.part_names:
            if part_names.get(name) not in known:
                raise ConfigError(
                    f"part_names maps {name!r} of {dataset.name!r} to {part_names.get(name)!r}; expected a part of "
                    f"{category!r}: {', '.join(known) or 'none, this category has no parts'}"
                )

    def write(folder: Path) -> None:
        lists: dict[str, list[str]] = {"train": [], "val": []}
        (folder / "Annotations_Part").mkdir(parents=True)
        for number, dataset, sample in samples(datasets):
            name, labels = f"2010_{number:06d}", part_labels(dataset, sample)
            masks = [(part_names[part], labels == k) for k, part in enumerate(dataset.part_names, 1)]
            write_image(pixels(sample), folder / "VOC2010" / "JPEGImages" / f"{name}.jpg")
            objects = [(category, foreground(sample), [(part, mask) for part, mask in masks if mask.any()])]
            write_annotation(folder / "Annotations_Part" / f"{name}.mat", objects)
            lists["val" if dataset.split == "test" else "train"].append(f"{name}  1")
        for part, lines in lists.items():
            write_lines(folder / "VOC2010" / "ImageSets" / "Main" / f"{category}_{part}.txt", lines)

    return write_folder(root, write)


def write_annotation(path: Path, objects: Sequence[tuple[str, np.ndarray, Sequence[tuple[str, np.ndarray]]]]) -> None:
    """Write one annotation file: class of VOC, mask (H, W) bool, and parts as names with masks (H, W) bool."""
    entries = np.empty((1, len(objects)), [("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")])
    for i, (category, mask, parts) in enumerate(objects):
        cells = np.empty((1, len(parts)), [("part_name", "O"), ("mask", "O")])
        for k, (name, part_mask) in enumerate(parts):
            cells[0, k] = (name, part_mask.astype(np.uint8))
        # MATLAB's annotations have an empty matrix, without fields, where there are no parts.
        entries[0, i] = (category, 1, mask.astype(np.uint8), cells if len(parts) else np.zeros((0, 0)))
    anno = np.empty((1, 1), [("imname", "O"), ("objects", "O")])
    anno[0, 0] = (path.stem, entries)
    savemat(path, {"anno": anno}, do_compression=True)
