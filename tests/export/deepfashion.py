"""Write a data set with at most 15 parts in the layout of DeepFashion In-shop."""

import json
from pathlib import Path

from partlib.data.deepfashion import COLORS
from partlib.errors import DataError
from tests.export.common import Sources, as_list, part_labels, pixels, samples, write_folder, write_image


def export_deepfashion(datasets: Sources, root: str | Path) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("deepfashion", root=root)`` reads it.

    Part k gets the k-th color of the palette, so that it comes back as part k under DeepFashion's name for it. Samples
    of a "test" split go to the query and gallery lists in turn, all others to the training list, of which the loader
    keeps a tenth for "val". Photographs are JPEG files of quality 95; parts are exact. Labels become "WOMEN".
    """
    for dataset in as_list(datasets):
        count, most = len(dataset.part_names), len(COLORS) - 1
        if not 1 <= count <= most:
            raise DataError(f"{dataset.name!r} has {count} parts; DeepFashion's palette has colors for 1 to {most}")

    def write(folder: Path) -> None:
        lists: dict[str, list[dict]] = {"train": [], "query": [], "gallery": []}
        segmentation = folder / "Anno" / "segmentation"
        for number, dataset, sample in samples(datasets):
            parts = part_labels(dataset, sample)
            name = f"img_highres/WOMEN/Exported/id_{number:08d}/{sample.name}"
            write_image(pixels(sample), segmentation / f"{name}.jpg")
            write_image(COLORS[parts], segmentation / f"{name}_segment.png")
            key = "train" if dataset.split != "test" else ("query", "gallery")[number % 2]
            height, width = parts.shape
            lists[key].append({"id": number, "file_name": f"{name}.jpg", "height": height, "width": width})
        for key, images in lists.items():
            text = json.dumps({"images": images, "annotations": []})
            (segmentation / f"DeepFashion_segmentation_{key}.json").write_text(text, encoding="utf-8")

    return write_folder(root, write)
