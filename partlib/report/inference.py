"""Segment photographs from files: the way from a user's picture to its parts and back to the picture's own size."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from partlib.data.folder import read_mask
from partlib.data.prepare import crop_square, read_photo, resize_photo, square_around
from partlib.errors import ConfigError, DataError
from partlib.report.plots import overlay, palette_image
from partlib.runs.checkpoint import load_model
from partlib.segmenter import PartSegmenter, resize

MARGIN = 0.05  # around the object, as the data sets of photographs crop it


def segment_files(model: str | Path, images: Sequence[Path], masks: Sequence[Path], out: Path) -> Iterator[Path]:
    """Segment image files; yields each written file.

    For ``photo.jpg`` two files are written to ``out``: ``photo-parts.png``, a palette image whose values are the labels
    (0 background, 1..K parts), and ``photo-overlay.png``, the photograph with its parts tinted.

    Parameters
    ----------
    model : folder of a run, or its ``model.safetensors``.
    images : photographs of any size.
    masks : one binary mask per photograph in the same order, or none: then the whole picture counts as the object.

    Raises
    ------
    ConfigError : another number of masks than of images, or two images whose results would have one name.
    DataError : a file that cannot be read, a mask of another size or without an object.
    """
    if masks and len(masks) != len(images):
        raise ConfigError(f"--mask names {len(masks)} files for {len(images)} images; expected one for each, or none")
    stems = [image.stem for image in images]
    doubled = [stem for stem in stems if stems.count(stem) > 1]
    if doubled:
        raise ConfigError(f"{doubled.count(doubled[0])} images are named {doubled[0]}; expected names that differ")
    segmenter, config = load_model(model)
    for index, image_path in enumerate(images):
        mask_path = masks[index] if masks else None
        photo = read_photo(image_path)
        if mask_path is None:
            mask = np.ones(photo.shape[:2], dtype=bool)
        else:
            mask = read_mask(mask_path, image_path, photo.shape[:2])
            if not mask.any():
                raise DataError(f"{mask_path}: the mask is empty; expected pixels above 0 on the object")
        labels = segment_photo(segmenter, photo, mask, config.image_size)
        out.mkdir(parents=True, exist_ok=True)
        written = {
            out / f"{image_path.stem}-parts.png": palette_image(labels),
            out / f"{image_path.stem}-overlay.png": Image.fromarray(overlay(photo, labels)),
        }
        for path, picture in written.items():
            picture.save(path)
            yield path


@torch.no_grad()
def segment_photo(segmenter: PartSegmenter, photo: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Part labels (H, W) uint8 of one photograph.

    Parameters
    ----------
    photo : (H, W, 3) uint8.
    mask : (H, W) bool, True on the object; at least one pixel.
    size : side in pixels at which the network sees the object's crop.
    """
    square = square_around(mask, MARGIN)
    crop = resize_photo(crop_square(photo, square, "edge"), size)
    image: Tensor = torch.from_numpy(crop.copy()).permute(2, 0, 1).float()[None] / 255  # (1, 3, size, size)
    left, top, side = square
    # logits, not labels, are brought to full size: their borders stay smooth
    labels = resize(segmenter(image), (side, side)).argmax(dim=1)[0].numpy() + 1  # (side, side)
    full = np.zeros(mask.shape, dtype=np.uint8)
    rows, columns = np.nonzero(mask)
    full[rows, columns] = labels[rows - top, columns - left]
    return full
