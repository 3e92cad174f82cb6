"""One sample, one data set. Every loader returns these and nothing downstream asks where the pictures came from."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from partlib.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One image of one object.

    Attributes
    ----------
    image : Tensor, (3, H, W) float32 in [0, 1], RGB.
    foreground : Tensor, (1, H, W) float32 in [0, 1]; 1 on the object.
    parts : Tensor or None, (H, W) int64; 0 is background, 1..P index ``PartDataset.part_names``.
    keypoints : Tensor or None, (N, 3) float32 ``(x, y, visible)``; x, y in pixels (0 is the centre of the first
        pixel), visible 0 or 1; rows in the order of ``PartDataset.keypoint_names``.
    label : int, category of the object (species, class); 0 where a data set has only one.
    name : str, unique within the data set.
    """

    image: Tensor
    foreground: Tensor
    parts: Tensor | None
    keypoints: Tensor | None
    label: int
    name: str


class PartDataset(Dataset[Sample]):
    """A sequence of :class:`Sample` with the names of its parts, keypoints and labels.

    Subclasses implement ``__len__`` and ``__getitem__``. ``part_names`` lists the parts 1..P without background and is
    empty where the data set has none; the same holds for ``keypoint_names``.

    Attributes
    ----------
    name, split : str, as given to ``load_dataset``.
    image_size : int, side of the square images in pixels.
    fixed_crop : bool, True where item i is the same image every time, so that features of it may be cached.
    """

    name: str = ""
    split: str = ""
    image_size: int = 128
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    fixed_crop: bool = True
    root: Path | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Short text that changes whenever the content of the data set does; keys caches of features."""
        raise NotImplementedError


class ArrayDataset(PartDataset):
    """A data set whose prepared images lie in arrays (memory-mapped where they come from a cache).

    Parameters
    ----------
    images : (N, H, W, 3) uint8.
    foreground : (N, H, W) uint8, 0 or 255, or None where ``parts > 0`` is the foreground.
    parts : (N, H, W) uint8 or None.
    keypoints : (N, M, 3) float32 or None.
    labels : (N,) integers.
    names : N strings.
    fingerprint : str identifying the content.
    attributes : ``name``, ``split``, ``part_names`` ... set on the instance.
    """

    def __init__(
        self,
        images: np.ndarray,
        foreground: np.ndarray | None,
        parts: np.ndarray | None,
        keypoints: np.ndarray | None,
        labels: np.ndarray,
        names: list[str],
        fingerprint: str,
        **attributes,
    ) -> None:
        if foreground is None and parts is None:
            raise DataError("a data set needs a foreground or parts; both are None")
        self.images, self.masks, self.parts, self.keypoints = images, foreground, parts, keypoints
        self.labels, self.names, self._fingerprint = labels, names, fingerprint
        self.image_size = images.shape[1]
        for key, value in attributes.items():
            setattr(self, key, value)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        image = torch.from_numpy(np.array(self.images[index])).permute(2, 0, 1).float() / 255  # (3, H, W)
        parts = None if self.parts is None else torch.from_numpy(np.array(self.parts[index])).long()  # (H, W)
        if self.masks is not None:
            foreground = torch.from_numpy(np.array(self.masks[index])).float()[None] / 255  # (1, H, W)
        else:
            assert parts is not None
            foreground = (parts > 0).float()[None]  # (1, H, W)
        keypoints = None if self.keypoints is None else torch.from_numpy(np.array(self.keypoints[index])).float()
        return Sample(image, foreground, parts, keypoints, int(self.labels[index]), self.names[index])

    def fingerprint(self) -> str:
        return self._fingerprint

    def subset(self, indices: list[int] | np.ndarray) -> "ArrayDataset":
        """The samples at ``indices``, in that order, as a data set of the same kind.

        ``indices`` are integers or N booleans. Every attribute that is an array with a row per sample is picked too.
        """
        pick = np.asarray(indices)
        pick = np.flatnonzero(pick) if pick.dtype == bool else pick.astype(np.int64)
        copy = object.__new__(type(self))
        for key, value in self.__dict__.items():
            per_sample = isinstance(value, np.ndarray) and len(value) == len(self)
            copy.__dict__[key] = value[pick] if per_sample else value
        copy.names = [self.names[i] for i in pick]
        digest = hashlib.sha256(pick.tobytes()).hexdigest()[:8]
        copy._fingerprint = f"{self._fingerprint}-{digest}"
        return copy


@dataclass(frozen=True)
class Batch:
    """Samples stacked along the first axis; fields as in :class:`Sample`, ``names`` a list."""

    images: Tensor  # (B, 3, H, W)
    foreground: Tensor  # (B, 1, H, W)
    parts: Tensor | None  # (B, H, W)
    keypoints: Tensor | None  # (B, N, 3)
    labels: Tensor  # (B,)
    names: list[str]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""

        def move(value):
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

        return self._with_tensors(move)

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from where a GPU copies without the program waiting."""
        return self._with_tensors(lambda value: value.pin_memory() if isinstance(value, Tensor) else value)

    def _with_tensors(self, change) -> "Batch":
        return Batch(**{f.name: change(getattr(self, f.name)) for f in fields(self)})


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one data set and one size into a :class:`Batch`."""

    def stack(values: list) -> Tensor | None:
        return None if values[0] is None else torch.stack(values)

    return Batch(
        images=torch.stack([s.image for s in samples]),
        foreground=torch.stack([s.foreground for s in samples]),
        parts=stack([s.parts for s in samples]),
        keypoints=stack([s.keypoints for s in samples]),
        labels=torch.tensor([s.label for s in samples]),
        names=[s.name for s in samples],
    )
