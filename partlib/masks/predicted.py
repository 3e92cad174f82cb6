"""Predicted foreground masks as files: ``folder/<Sample.name>.png``, 0 for background and 255 for the object.

Where a data set is made of photographs, a mask is of the size of its photograph; drawn birds are square themselves.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from partlib.data import PartDataset, Sample, load_dataset
from partlib.data.photos import crop_square, resize_mask, square_of
from partlib.data.reading import at_least_half, check_size, mask_values, photo_shape
from partlib.errors import DataError
from partlib.paths import write_atomically

WHOLE_PHOTOGRAPHS = ("cub", "deepfashion")  # their loaders have an option ``masks``


def save_masks(dataset: PartDataset, probabilities: Tensor, folder: Path) -> Path:
    """Write the mask of every image from probabilities (N, S, S); it is where they are at least one half."""
    for i, name in enumerate(sample_names(dataset)):
        mask = probabilities[i].numpy() >= 0.5  # (S, S)
        if dataset.photos is not None:
            shape = photo_shape(Path(dataset.photos[i]))
            square = square_of(shape) if dataset.squares is None else dataset.squares[i]
            mask = paste(probabilities[i].numpy(), square, shape)  # (H, W)
        write_atomically(folder / f"{name}.png", Image.fromarray(mask.astype(np.uint8) * 255).save)
    return folder


def paste(probabilities: np.ndarray, square: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Mask (H, W) bool of a photograph from probabilities (S, S) in a square (left, top, side) of it; 0 outside."""
    left, top, side = map(int, square)
    small = Image.fromarray(probabilities.astype(np.float32))
    large = np.asarray(small.resize((side, side), Image.Resampling.BILINEAR)) >= 0.5  # (side, side)
    return crop_square(large, (-left, -top, max(shape)), "zero")[: shape[0], : shape[1]]


def load_with_masks(
    name: str, split: str, root: str | Path | None, image_size: int, folder: Path, **options: Any
) -> PartDataset:
    """``load_dataset`` with predicted masks, which may be empty, as the foreground; parts and keypoints stay."""
    if not folder.is_dir():
        raise DataError(f"masks: {folder} is not a folder; expected one with a PNG per image (see partlib foreground)")
    if name not in WHOLE_PHOTOGRAPHS:
        return PredictedForeground(load_dataset(name, split, root, image_size, **options), folder)
    if split != "test":
        raise DataError(f"masks: {name} takes predicted masks for its test split only, not for {split!r}; drop --masks")
    return load_dataset(name, split, root, image_size, **{**options, "masks": str(folder)})


class PredictedForeground(PartDataset):
    """The samples of a data set with their foreground read from a folder of square masks."""

    def __init__(self, dataset: PartDataset, folder: Path) -> None:
        super().__init__(**{field.name: getattr(dataset, field.name) for field in dataclasses.fields(PartDataset)})
        self.dataset, self.paths = dataset, [folder / f"{name}.png" for name in sample_names(dataset)]
        for path in self.paths:
            if not path.is_file():
                raise DataError(f"{path} is missing, a mask of {dataset.name}; write them all with partlib foreground")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        mask = at_least_half(mask_values(self.paths[index]))  # (H, W)
        if self.photos is not None and self.squares is not None:
            photo = Path(self.photos[index])
            check_size(self.paths[index], mask.shape, photo, photo_shape(photo))
            left, top, side = map(int, self.squares[index])
            mask = crop_square(mask, (left, top, side), "zero")  # (side, side)
        height, width = mask.shape
        if height != width:
            found = f"{self.paths[index]}: is {width} x {height} pixels"
            raise DataError(f"{found}; expected a square mask (see partlib foreground)")
        foreground = torch.from_numpy(resize_mask(mask, self.image_size)).float()[None]  # (1, S, S)
        return dataclasses.replace(self.dataset[index], foreground=foreground)


def sample_names(dataset: PartDataset) -> Sequence[str]:
    """Names of all samples, without reading their images where the data set allows it."""
    return getattr(dataset, "names", None) or [dataset[i].name for i in range(len(dataset))]


def mean_iou(found: Tensor, wanted: Tensor) -> float:
    """Mean over images of intersection over union of masks (N, H, W) bool, in percent; 100 where both are empty."""
    both, either = (found & wanted).sum((1, 2)), (found | wanted).sum((1, 2))  # (N,), (N,)
    return float(100 * torch.where(either > 0, both / either.clamp(min=1), 1.0).mean())
