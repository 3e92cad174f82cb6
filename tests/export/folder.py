"""Write a data set as a plain folder of images and masks, the format that readers bring their own pictures in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from partlib.data.base import PartDataset
from partlib.errors import DataError
from tests.export.common import as_list, foreground, new_folder, pixels, write_jpeg, write_png


def export_folder(datasets: PartDataset | Sequence[PartDataset], root: str | Path, parts: bool = True) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("folder", root=root)`` reads it.

    Images are JPEG files of quality 95; masks and label maps are exact. The loader deals images to splits anew, by
    their names.

    Parameters
    ----------
    datasets : with names that are unique over all of them.
    root : folder to make; see :mod:`partlib.data.folder` for what will be in it.
    parts : write label maps and part names too, where the data set has them.

    Returns
    -------
    ``root``.

    Raises
    ------
    DataError : ``root`` exists and is not empty, or two images have one name.
    """
    sources = as_list(datasets)
    samples = [(dataset, i) for dataset in sources for i in range(len(dataset))]
    seen: set[str] = set()
    with new_folder(root) as folder:
        for dataset, i in tqdm(samples, "writing images", leave=False):
            sample = dataset[i]
            if sample.name in seen:
                raise DataError(f"two images are named {sample.name!r}; export data sets whose names differ")
            seen.add(sample.name)
            write_jpeg(pixels(sample), folder / "images" / f"{sample.name}.jpg")
            write_png(foreground(sample).astype(np.uint8) * 255, folder / "masks" / f"{sample.name}.png")
            if parts and sample.parts is not None:
                write_png(sample.parts.numpy().astype(np.uint8), folder / "parts" / f"{sample.name}.png")
        names = sources[0].part_names if parts else ()
        if names:
            (folder / "parts.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return Path(root)
