"""Write a data set as a plain folder of images and masks, the format that readers bring their own pictures in."""

from pathlib import Path

import numpy as np

from partlib.errors import DataError
from tests.export.common import Sources, as_list, foreground, pixels, samples, write_folder, write_image, write_lines


def export_folder(datasets: Sources, root: str | Path, parts: bool = True) -> Path:
    """Write one data set, or several splits of one, so that ``load_dataset("folder", root=root)`` reads it.

    Images are JPEG files of quality 95; masks and, with ``parts``, label maps are exact. The loader deals images to
    splits anew, by their names.
    """
    names = as_list(datasets)[0].part_names if parts else ()

    def write(folder: Path) -> None:
        for _, _, sample in samples(datasets):
            if (folder / "images" / f"{sample.name}.jpg").exists():
                raise DataError(f"two images are named {sample.name!r}; export data sets whose names differ")
            write_image(pixels(sample), folder / "images" / f"{sample.name}.jpg")
            write_image(foreground(sample).astype(np.uint8) * 255, folder / "masks" / f"{sample.name}.png")
            if parts and sample.parts is not None:
                write_image(sample.parts.numpy().astype(np.uint8), folder / "parts" / f"{sample.name}.png")
        if names:
            write_lines(folder / "parts.txt", names)

    return write_folder(root, write)
