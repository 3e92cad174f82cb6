"""Write a data set with at most 15 parts in the layout of DeepFashion In-shop."""

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from partlib.data.base import PartDataset
from partlib.data.deepfashion import COLORS
from partlib.errors import DataError
from tests.export.common import as_list, new_folder, pixels, require_parts, write_jpeg, write_png


def export_deepfashion(datasets: PartDataset | Sequence[PartDataset], root: str | Path) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("deepfashion", root=root)`` reads it.

    Part k gets the k-th colour of the palette, so that it comes back as part k under DeepFashion's name for it. Samples
    of a "test" split go to the query and gallery lists in turn, all others to the training list, of which the loader
    keeps a tenth for "val". Photographs are JPEG files of quality 95; parts are exact. Labels become "WOMEN".

    Parameters
    ----------
    datasets : with 1 to 15 parts.
    root : folder to make; ``In-shop Clothes Retrieval Benchmark`` in the original.

    Returns
    -------
    ``root``.

    Raises
    ------
    DataError : ``root`` is not empty, or a data set has no parts or too many.
    """
    sources = as_list(datasets)
    for dataset in sources:
        if not 1 <= len(dataset.part_names) < len(COLORS):
            raise DataError(
                f"{dataset.name!r} has {len(dataset.part_names)} parts; DeepFashion's palette has colours for 1 "
                f"to {len(COLORS) - 1}"
            )
    lists: dict[str, list[dict]] = {"train": [], "query": [], "gallery": []}
    samples = ((dataset, dataset[i]) for dataset in sources for i in range(len(dataset)))
    with new_folder(root) as folder:
        segmentation = folder / "Anno" / "segmentation"
        total = sum(len(dataset) for dataset in sources)
        for number, (dataset, sample) in enumerate(tqdm(samples, "writing DeepFashion", total, leave=False), 1):
            parts = require_parts(dataset, sample)
            name = f"img_highres/WOMEN/Exported/id_{number:08d}/{sample.name}"
            write_jpeg(pixels(sample), segmentation / f"{name}.jpg")
            write_png(COLORS[parts], segmentation / f"{name}_segment.png")
            key = "train" if dataset.split != "test" else ("query", "gallery")[number % 2]
            height, width = parts.shape
            lists[key].append({"id": number, "file_name": f"{name}.jpg", "height": height, "width": width})
        for key, images in lists.items():
            path = segmentation / f"DeepFashion_segmentation_{key}.json"
            path.write_text(json.dumps({"images": images, "annotations": []}), encoding="utf-8")
    return Path(root)
