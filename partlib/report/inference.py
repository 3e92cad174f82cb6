"""Segment a user's photographs: from the files to their parts and back to their own size."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from partlib.config import TrainConfig
from partlib.data.photos import crop_square, resize_photo, square_around
from partlib.data.reading import read_mask, read_reduced, shrunk, suspicions, warn_of
from partlib.errors import ConfigError, DataError, about
from partlib.paths import write_atomically
from partlib.report.plots import overlay, palette_image
from partlib.runs.checkpoint import load_model
from partlib.segmenter import PartSegmenter, likeliest_part, resize

MARGIN = 0.05  # around the object, as the data sets of photographs crop it


Find = Callable[[np.ndarray], np.ndarray]  # photograph (H, W, 3) uint8 -> mask (H, W) bool


def segment_files(
    model: str | Path,
    images: Sequence[Path],
    masks: Sequence[Path],
    out: Path,
    finder: Callable[[TrainConfig], Find] | None = None,
    overwrite: bool = True,  # files of these names; otherwise refused before anything is computed
) -> list[Path]:
    """Segment photographs with a run's model; returns the files written, labels and overlay for each.

    ``photo-parts.png`` is a palette image, 0 background and 1..K parts. ``masks`` are one binary picture per
    photograph; without them the object is what ``finder``, given the configuration of the run, finds, or the whole
    picture. Photographs of more than LARGE pixels are divided, and drawn in the overlay, at 1/2, 1/4 ... of their size.
    """
    if masks and len(masks) != len(images):
        raise ConfigError(f"--mask names {len(masks)} files for {len(images)} images; expected one for each, or none")
    for stem, count in Counter(image.stem for image in images).items():
        if count > 1:
            raise ConfigError(f"{count} images are named {stem}; expected names that differ")
    targets = [out / f"{image.stem}-{kind}.png" for image in images for kind in ("parts", "overlay")]
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        raise ConfigError(f"{there[0]} is there already; pass --overwrite to replace it, or another --out")
    segmenter, config = load_model(model)
    find: Find | None = None if finder is not None else whole
    written: list[Path] = []
    broken: list[str] = []
    suspects: list[tuple[str, Path]] = []
    for image, mask_path in zip_longest(images, masks):
        try:
            # The photograph, and where the object is; a very large one is looked at in a smaller size
            (photo, shape), mask = read_reduced(image), None
            if mask_path:
                mask = read_mask(mask_path, image, shape)
                suspects += [(kind, mask_path) for kind in suspicions(mask, mask_path, image)]
            else:
                find = find or finder(config)  # type: ignore[misc]
            small = find(photo) if mask is None else shrunk(mask, photo.shape[:2])  # type: ignore[misc]
            if not small.any():
                raise DataError(f"{mask_path or image}: the mask is empty; expected pixels above 0 on the object")
        except DataError as error:  # the others are not lost for it
            broken.append(about(error, image, *([mask_path] if mask_path else [])))
            continue
        # Its parts, at the size of the file
        labels = segment_photo(segmenter, photo, small, config.image_size)
        full = enlarged(labels, small, shape, mask)
        written += [out / f"{image.stem}-parts.png", out / f"{image.stem}-overlay.png"]
        write_atomically(written[-2], palette_image(full).save)
        picture = Image.fromarray(overlay(photo, labels))
        write_atomically(written[-1], partial(picture.save, compress_level=1))  # a third of the time
    warn_of(suspects)
    if broken:
        done = f" ({len(images) - len(broken)} of {len(images)} photographs are done)" if len(images) > 1 else ""
        raise DataError("; ".join(broken) + done)
    return written


def enlarged(labels: np.ndarray, small: np.ndarray, shape: tuple[int, int], mask: np.ndarray | None) -> np.ndarray:
    """Labels (h, w) within the mask ``small`` (h, w) at the ``shape`` (H, W) of the file, within ``mask`` (H, W)."""
    if labels.shape == shape:
        return labels
    if mask is not None:  # its border is finer than that of the labels, which are continued over it
        where = ndimage.distance_transform_edt(~small, return_distances=False, return_indices=True)
        labels = labels[tuple(where)]
    large = np.asarray(Image.fromarray(labels).resize(shape[::-1], Image.Resampling.NEAREST))
    return large if mask is None else large * mask


def whole(photo: np.ndarray) -> np.ndarray:
    """The mask (H, W) that is all of a photograph."""
    return np.ones(photo.shape[:2], dtype=bool)


@torch.no_grad()
def segment_photo(segmenter: PartSegmenter, photo: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    """Labels (H, W) uint8 of a photograph (H, W, 3) uint8 with its mask (H, W) bool; the network sees ``size``."""
    left, top, side = square = square_around(mask, MARGIN)
    crop = resize_photo(crop_square(photo, square, "edge"), size)
    image = torch.tensor(crop).permute(2, 0, 1).float()[None] / 255  # (1, 3, size, size)
    # logits, not labels, are brought to full size: their borders stay smooth
    labels = likeliest_part(resize(segmenter(image), (side, side)))[0].to(torch.uint8).numpy()  # (side, side)
    return crop_square(labels, (-left, -top, max(mask.shape)), "zero")[: mask.shape[0], : mask.shape[1]] * mask
