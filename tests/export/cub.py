"""Write a data set with CUB's 15 keypoints in the layout of CUB-200-2011."""

from pathlib import Path

import numpy as np

from partlib.data.base import Sample
from partlib.data.cub import KEYPOINT_NAMES
from partlib.errors import DataError
from tests.export.common import Sources, as_list, foreground, pixels, samples, write_folder, write_image, write_lines


def export_cub(datasets: Sources, root: str | Path, whole_images: bool = False) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("cub", root=root)`` reads it.

    Samples of a "test" split become test images, all others training images, of which the loader keeps a tenth for
    "val". Photographs are JPEG files of quality 95; masks, keypoints (to 1/1000 pixel) and labels are exact.
    ``whole_images`` writes the whole image as the box: loaded with ``padding=0``, images come back as they were.
    """
    for dataset in as_list(datasets):
        if tuple(dataset.keypoint_names) != KEYPOINT_NAMES:
            count = len(dataset.keypoint_names)
            raise DataError(f"{dataset.name!r} has {count} keypoints; the format needs CUB's 15, as birds have them")
    labels = as_list(datasets)[0].label_names or ("object",)
    classes = [f"{i:03d}.{name.replace(' ', '_')}" for i, name in enumerate(labels, 1)]

    def write(folder: Path) -> None:
        names = ("images", "image_class_labels", "train_test_split", "bounding_boxes", "parts/part_locs")
        lists: dict[str, list[str]] = {name: [] for name in names}
        for number, dataset, sample in samples(datasets):
            file = f"{classes[sample.label]}/{sample.name}"
            write_image(pixels(sample), folder / "images" / f"{file}.jpg")
            write_image(foreground(sample).astype(np.uint8) * 255, folder / "segmentations" / f"{file}.png")
            box = (1, 1, *sample.image.shape[:0:-1]) if whole_images else object_box(sample)
            lists["images"].append(f"{number} {file}.jpg")
            lists["image_class_labels"].append(f"{number} {sample.label + 1}")
            lists["train_test_split"].append(f"{number} {int(dataset.split != 'test')}")
            lists["bounding_boxes"].append(f"{number} " + " ".join(f"{value:.1f}" for value in box))
            lists["parts/part_locs"] += keypoint_rows(number, sample)
        lists["classes"] = [f"{i} {name}" for i, name in enumerate(classes, 1)]
        lists["parts/parts"] = [f"{i} {name}" for i, name in enumerate(KEYPOINT_NAMES, 1)]
        for name, lines in lists.items():
            write_lines(folder / f"{name}.txt", lines)

    return write_folder(root, write)


def object_box(sample: Sample) -> tuple[int, int, int, int]:
    """``(x, y, width, height)`` around the foreground, x and y counted from 1."""
    rows, columns = np.nonzero(foreground(sample))
    if not len(rows):
        raise DataError(f"{sample.name} has no foreground, so it has no box; leave it out of the export")
    return columns.min() + 1, rows.min() + 1, np.ptp(columns) + 1, np.ptp(rows) + 1


def keypoint_rows(number: int, sample: Sample) -> list[str]:
    """Lines of part_locs.txt: image, keypoint, x, y, visible; zeros where invisible, as in the original."""
    assert sample.keypoints is not None
    rows = []
    for k, (x, y, visible) in enumerate(sample.keypoints.tolist(), 1):
        rows.append(f"{number} {k} {x + 1:.3f} {y + 1:.3f} 1" if visible else f"{number} {k} 0.0 0.0 0")
    return rows
