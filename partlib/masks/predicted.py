"""Predicted foreground masks as files: one PNG per image, 0 for background and 255 for the object.

``folder/<name>.png``, where ``name`` is ``Sample.name``. What a mask covers depends on the data set:

* CUB and DeepFashion: the whole photograph, so that the folder is what their loaders take as ``masks=`` (and what the
  authors published for them has the same form).
* All others: the square image that the loader makes, at any size, since several of their samples may come from one
  photograph, or from none.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from partlib.data import load_dataset
from partlib.data.base import ArrayDataset, PartDataset, Sample
from partlib.data.prepare import read_photo, resize_mask
from partlib.errors import DataError

WHOLE_PHOTOGRAPHS = ("cub", "deepfashion")  # their loaders have an option ``masks``


def save_masks(dataset: PartDataset, probabilities: Tensor, folder: Path) -> Path:
    """Write the mask of every image of ``dataset``.

    Parameters
    ----------
    probabilities : (N, S, S) in [0, 1], that a pixel is foreground; a mask is where it is at least one half.
    folder : made where it is missing; files in it are replaced.

    Returns
    -------
    ``folder``.
    """
    photos = getattr(dataset, "photos", None) if dataset.name in WHOLE_PHOTOGRAPHS else None
    for i in tqdm(range(len(dataset)), f"writing masks of {dataset.name} {dataset.split}", leave=False):
        mask = probabilities[i].numpy() >= 0.5
        if photos is not None:
            shape = read_photo(Path(photos[i])).shape[:2]
            mask = paste(probabilities[i].numpy(), _square(dataset, i, shape), shape)
        path = folder / f"{dataset[i].name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return folder


def _square(dataset: PartDataset, i: int, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """``(left, top, side)`` in the photograph of image i; the whole photograph made square where there is no crop."""
    squares = getattr(dataset, "squares", None)
    if squares is not None:
        left, top, side = (int(value) for value in squares[i])
        return left, top, side
    side = max(shape)
    return -((side - shape[1]) // 2), -((side - shape[0]) // 2), side


def paste(probabilities: np.ndarray, square: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) bool of a photograph of ``shape`` from the probabilities (S, S) in one square of it.

    Probabilities, not labels, are brought to the photograph's size: the border of the mask stays smooth. Outside the
    square there is no foreground.
    """
    left, top, side = square
    large = np.asarray(
        Image.fromarray(probabilities.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    )
    height, width = shape
    rows, columns = slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = large[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] >= 0.5
    return mask


def load_with_masks(
    name: str, split: str, root: str | Path | None, image_size: int, folder: Path, **options: Any
) -> PartDataset:
    """``load_dataset`` with predicted masks in place of the annotated foreground; parts and keypoints stay.

    Only the test split of CUB and DeepFashion can have them, any split of the others. No image is left out because its
    predicted mask is empty.

    Raises
    ------
    DataError : a mask is missing, cannot be read, or is of another shape than its photograph.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"masks: {folder} is not a folder; expected one with a PNG per image, as partlib foreground makes"
        )
    if name not in WHOLE_PHOTOGRAPHS:
        return PredictedForeground(load_dataset(name, split, root, image_size, **options), folder)
    if split != "test":
        raise DataError(f"masks: {name} takes predicted masks for its test split only, not for {split!r}; drop --masks")
    return load_dataset(name, split, root, image_size, **{**options, "masks": str(folder)})


class PredictedForeground(PartDataset):
    """The samples of a data set with their foreground read from a folder of masks.

    Raises
    ------
    DataError : an image has no mask; the message names the first.
    """

    def __init__(self, dataset: PartDataset, folder: Path) -> None:
        self.dataset, self.folder, self.image_size = dataset, folder, dataset.image_size
        for key in ("name", "split", "part_names", "keypoint_names", "label_names", "root", "boxes"):
            if hasattr(dataset, key):
                setattr(self, key, getattr(dataset, key))
        self.paths = [folder / f"{name}.png" for name in sample_names(dataset)]
        for path in self.paths:
            if not path.is_file():
                raise DataError(
                    f"{path} is missing: the predicted mask of an image of {dataset.name}; write it, or all "
                    "of them with `partlib foreground`"
                )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        mask = self._mask(self.paths[index])
        foreground = torch.from_numpy(mask).float()[None]  # (1, H, W)
        return dataclasses.replace(self.dataset[index], foreground=foreground)

    def fingerprint(self) -> str:
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return f"{self.dataset.fingerprint()}-masks-{hashlib.sha256(repr(stamps).encode()).hexdigest()[:8]}"

    def _mask(self, path: Path) -> np.ndarray:
        """Mask (S, S) bool at the size of the images: true where the object covers at least half of a cell."""
        values = read_photo(path)[..., 0]  # (H, W)
        if values.shape[0] != values.shape[1]:
            raise DataError(
                f"{path}: is {values.shape[1]} x {values.shape[0]} pixels; expected a square mask of the square image "
                f"that data set {self.name!r} shows"
            )
        return resize_mask(values >= 128, self.image_size)


def sample_names(dataset: PartDataset) -> Sequence[str]:
    """Names of all samples, without reading their images where the data set allows it."""
    return dataset.names if isinstance(dataset, ArrayDataset) else [dataset[i].name for i in range(len(dataset))]


def mean_iou(found: Tensor, wanted: Tensor) -> float:
    """Mean over images of intersection over union, in percent; 100 where both masks of an image are empty.

    Parameters
    ----------
    found, wanted : (N, H, W) bool.
    """
    both, either = (found & wanted).sum((1, 2)), (found | wanted).sum((1, 2))  # (N,), (N,)
    return float(100 * torch.where(either > 0, both / either.clamp(min=1), 1.0).mean())
