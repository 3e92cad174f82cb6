"""One sample, one data set, one batch. Every loader returns these; nothing downstream asks where pictures came from."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

SPLITS = ("train", "val", "test")
BATCH = 8  # images in memory at a time


@dataclass(frozen=True)
class Sample:
    """One image of one object."""

    image: Tensor  # (3, H, W) float32 in [0, 1], RGB
    foreground: Tensor  # (1, H, W) float32 in [0, 1], 1 on the object
    parts: Tensor | None  # (H, W) int64; 0 is background, 1..P index PartDataset.part_names
    keypoints: Tensor | None  # (N, 3) float32 (x, y, visible) in pixels, 0 is the center of the first
    label: int  # category of the object (species, class); 0 where a data set has only one
    name: str  # unique within the data set


@dataclass(eq=False, kw_only=True)
class PartDataset(Dataset[Sample]):
    """A sequence of :class:`Sample`, and what is known of all of them; what a data set lacks is empty or None."""

    name: str = ""
    split: str = ""
    image_size: int = 128  # side of the square images in pixels
    part_names: tuple[str, ...] = ()  # parts 1..P, without background
    keypoint_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    unseen_labels: tuple[int, ...] = ()  # labels that only the test split has
    fixed_crop: bool = True  # item i is the same image every time, so features of it may be cached
    root: Path | None = None  # folder of the files
    boxes: np.ndarray | None = None  # (N, 4) annotated (left, top, width, height) in pixels of the image
    photos: np.ndarray | None = None  # (N,) paths of the photographs
    squares: np.ndarray | None = None  # (N, 3) (left, top, side) of the images in their photographs

    def __len__(self) -> int:
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Short text that changes whenever the content of the data set does; keys caches of features."""
        raise NotImplementedError

    def subset(self, indices: Sequence[int] | np.ndarray) -> "PartDataset":
        """The samples at ``indices``, integers or N booleans, in that order, as a data set of the same kind."""
        raise NotImplementedError


@dataclass(eq=False)
class ArrayDataset(PartDataset):
    """A data set whose images lie in arrays, memory-mapped where they come from the cache."""

    images: np.ndarray  # (N, H, W, 3) uint8
    masks: np.ndarray | None  # (N, H, W) uint8 of 0 or 255; None where parts > 0 is the foreground
    parts: np.ndarray | None  # (N, H, W) uint8
    keypoints: np.ndarray | None  # (N, M, 3) float32
    labels: np.ndarray  # (N,) integers
    names: list[str]
    digest: str  # identifies the content

    def __post_init__(self) -> None:
        self.image_size = self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")  # ends iteration
        columns = {"image": self.images, "mask": self.masks, "parts": self.parts, "keypoints": self.keypoints}
        rows = {key: torch.tensor(array[index]) for key, array in columns.items() if array is not None}  # copies
        image = rows["image"].permute(2, 0, 1).float() / 255  # (3, H, W)
        mask = rows["mask"].float() / 255 if "mask" in rows else (rows["parts"] > 0).float()  # (H, W)
        parts = rows["parts"].long() if "parts" in rows else None  # (H, W)
        return Sample(image, mask[None], parts, rows.get("keypoints"), int(self.labels[index]), self.names[index])

    def fingerprint(self) -> str:
        return self.digest

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ArrayDataset":
        pick = np.asarray(indices)
        pick = np.flatnonzero(pick) if pick.dtype == bool else pick.astype(np.int64)
        run = len(pick) > 0 and np.array_equal(pick, np.arange(pick[0], pick[0] + len(pick)))
        rows = slice(pick[0], pick[0] + len(pick)) if run else pick  # of a run nothing is copied
        arrays: dict[str, Any] = {k: v[rows] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        digest = f"{self.digest}-{hashlib.sha256(pick.tobytes()).hexdigest()[:8]}"
        return replace(self, names=[self.names[i] for i in pick], digest=digest, **arrays)


@dataclass(frozen=True)
class Batch:
    """Samples stacked along the first axis; fields as in :class:`Sample`."""

    images: Tensor  # (B, 3, H, W)
    foreground: Tensor  # (B, 1, H, W)
    parts: Tensor | None  # (B, H, W)
    keypoints: Tensor | None  # (B, N, 3)
    labels: Tensor  # (B,)
    names: list[str]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from where a GPU copies without the program waiting."""
        return self._with_tensors(Tensor.pin_memory)

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **changed)


@dataclass(frozen=True)
class ViewBatch(Batch):
    """A batch of small images, with what the encoder sees of two views of them at full size."""

    maps: list[Tensor]  # per layer (2 B, C_l, h_l, w_l), those of the first views, then those of the second
    points: Tensor  # (B, 25, 2), the warps of the second view, see partlib.warps

    def to(self, device: torch.device | str) -> "ViewBatch":
        """The same batch with its tensors on ``device``, the maps, stored as halves, in float32."""
        moved: Any = super().to(device)
        return replace(moved, maps=[z.float() for z in moved.maps])

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "ViewBatch":
        changed: Any = super()._with_tensors(change)
        return replace(changed, maps=[change(z) for z in self.maps])


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one data set and one size into a :class:`Batch`."""
    *columns, labels, names = zip(*(vars(sample).values() for sample in samples), strict=True)
    stacks: list[Any] = [None if column[0] is None else torch.stack(column) for column in columns]
    stacks += torch.tensor(labels), list(names)
    return Batch(*stacks)


def at_once(device: torch.device) -> int:
    """Images to show a network at a time: a CPU is as fast with few, in hundreds of megabytes less memory."""
    return 2 if device.type == "cpu" else BATCH


def batches(dataset: PartDataset, batch_size: int = BATCH, first: int = 0) -> Iterator[tuple[Batch, list[int]]]:
    """The samples from ``first`` on in order, with their indices."""
    for indices in torch.arange(first, len(dataset)).split(batch_size):
        yield collate([dataset[i] for i in indices.tolist()]), indices.tolist()


class Column:
    """One field of every sample, a tensor (N, C, H, W) of which only the slice that is asked for lies in memory."""

    def __init__(self, dataset: PartDataset, field: str) -> None:
        self.dataset, self.field = dataset, field

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, pick: slice) -> Tensor:
        return torch.stack([getattr(self.dataset[i], self.field) for i in range(*pick.indices(len(self)))])


def stacked(dataset: PartDataset) -> tuple[Tensor, Tensor]:
    """All images (N, 3, H, W) and foregrounds (N, 1, H, W) of a data set."""
    # filled one by one: a list of all samples beside the stack would double the memory
    images, foregrounds = (torch.empty(len(dataset), channels, *[dataset.image_size] * 2) for channels in (3, 1))
    for i in range(len(dataset)):
        sample = dataset[i]
        images[i], foregrounds[i] = sample.image, sample.foreground
    return images, foregrounds
