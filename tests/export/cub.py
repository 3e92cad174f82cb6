"""Write a data set with CUB's 15 keypoints in the layout of CUB-200-2011."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from partlib.data.base import PartDataset, Sample
from partlib.data.cub import KEYPOINT_NAMES
from partlib.errors import DataError
from tests.export.common import as_list, foreground, new_folder, pixels, write_jpeg, write_png


def export_cub(datasets: PartDataset | Sequence[PartDataset], root: str | Path, whole_images: bool = False) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("cub", root=root)`` reads it.

    Samples of a "test" split become test images, all others training images, of which the loader keeps a tenth for
    "val". Photographs are JPEG files of quality 95; masks, keypoints (to 1/1000 pixel) and labels are exact.

    Parameters
    ----------
    datasets : with CUB's keypoints, as the birds have. Parts are not written: the format has none.
    root : folder to make; ``CUB_200_2011`` in the original.
    whole_images : write the whole image as the box instead of the box of the foreground. Loaded with ``padding=0`` and
        the same size, images then come back as they were.

    Returns
    -------
    ``root``.

    Raises
    ------
    DataError : ``root`` is not empty, or a data set has other keypoints or an image without foreground.
    """
    sources = as_list(datasets)
    for dataset in sources:
        if tuple(dataset.keypoint_names) != KEYPOINT_NAMES:
            raise DataError(
                f"{dataset.name!r} has {len(dataset.keypoint_names)} keypoints; the format needs CUB's 15, as birds "
                "have them"
            )
    labels = sources[0].label_names or ("object",)
    classes = [f"{i:03d}.{name.replace(' ', '_')}" for i, name in enumerate(labels, 1)]
    lists: dict[str, list[str]] = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    lists |= {"bounding_boxes": [], "parts/part_locs": []}
    samples = ((dataset, dataset[i]) for dataset in sources for i in range(len(dataset)))
    with new_folder(root) as folder:
        total = sum(len(dataset) for dataset in sources)
        for number, (dataset, sample) in enumerate(tqdm(samples, "writing CUB", total, leave=False), 1):
            file = f"{classes[sample.label]}/{sample.name}"
            write_jpeg(pixels(sample), folder / "images" / f"{file}.jpg")
            write_png(foreground(sample).astype(np.uint8) * 255, folder / "segmentations" / f"{file}.png")
            lists["images"].append(f"{number} {file}.jpg")
            lists["image_class_labels"].append(f"{number} {sample.label + 1}")
            lists["train_test_split"].append(f"{number} {int(dataset.split != 'test')}")
            box = (1, 1, *sample.image.shape[:0:-1]) if whole_images else object_box(sample)
            lists["bounding_boxes"].append(f"{number} " + " ".join(f"{value:.1f}" for value in box))
            lists["parts/part_locs"] += _keypoint_rows(number, sample)
        lists["classes"] = [f"{i} {name}" for i, name in enumerate(classes, 1)]
        lists["parts/parts"] = [f"{i} {name}" for i, name in enumerate(KEYPOINT_NAMES, 1)]
        (folder / "parts").mkdir()
        for name, lines in lists.items():
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Path(root)


def object_box(sample: Sample) -> tuple[int, int, int, int]:
    """``(x, y, width, height)`` around the foreground, x and y counted from 1.

    Raises
    ------
    DataError : there is no foreground.
    """
    mask = foreground(sample)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise DataError(f"{sample.name} has no foreground, so it has no box; leave it out of the export")
    return (
        int(columns[0]) + 1,
        int(rows[0]) + 1,
        int(columns[-1] - columns[0]) + 1,
        int(rows[-1] - rows[0]) + 1,
    )


def _keypoint_rows(number: int, sample: Sample) -> list[str]:
    """Lines of part_locs.txt: image, keypoint, x, y, visible; zeros where invisible, as in the original."""
    assert sample.keypoints is not None
    rows = []
    for k, (x, y, visible) in enumerate(sample.keypoints.tolist(), 1):
        rows.append(f"{number} {k} {x + 1:.3f} {y + 1:.3f} 1" if visible else f"{number} {k} 0.0 0.0 0")
    return rows
