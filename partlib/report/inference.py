"""Segment a user's photographs: from the files to their parts and back to their own size."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from partlib.config import TrainConfig
from partlib.data.photos import crop_square, resize_photo, square_around
from partlib.data.reading import read_mask, read_photo
from partlib.errors import ConfigError, DataError
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
    picture.
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
    for image, mask_path in zip_longest(images, masks):
        try:
            photo = read_photo(image)
            if mask_path:
                mask = read_mask(mask_path, image, photo.shape[:2])
            else:
                find = find or finder(config)  # type: ignore[misc]
                mask = find(photo)
            if not mask.any():
                raise DataError(f"{mask_path or image}: the mask is empty; expected pixels above 0 on the object")
        except DataError as error:  # the others are not lost for it
            text = str(error)
            broken.append(text if str(mask_path or image) in text or str(image) in text else f"{image}: {text}")
            continue
        labels = segment_photo(segmenter, photo, mask, config.image_size)
        written += [out / f"{image.stem}-parts.png", out / f"{image.stem}-overlay.png"]
        write_atomically(written[-2], palette_image(labels).save)
        picture = Image.fromarray(overlay(photo, labels))
        write_atomically(written[-1], partial(picture.save, compress_level=1))  # a third of the time
    if broken:
        done = f" ({len(images) - len(broken)} of {len(images)} photographs are done)" if len(images) > 1 else ""
        raise DataError("; ".join(broken) + done)
    return written


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
