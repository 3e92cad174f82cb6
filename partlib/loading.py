"""Batches by step number, read ahead of the device.

What a step reads depends on the seed and the step alone, not on what ran before. So reading can be left to any number
of processes, and a run that is resumed sees the batches of one that was never interrupted.
"""

import signal
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from partlib import distributed
from partlib.config import TrainConfig
from partlib.data.base import Batch, PartDataset, collate

Loaded = tuple[Batch, list[Tensor]]


class FeatureSource(Protocol):
    """Where a step's frozen features come from: see ``FeatureBank`` and ``LiveFeatures``."""

    def load(self, indices: list[int]) -> list[Tensor]:
        """What must be read for the images at ``indices``; runs in the reading process."""
        ...

    def maps(self, loaded: list[Tensor], images: Tensor) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l) from what :meth:`load` returned, on the device of ``images``."""
        ...


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Images of one step: every epoch is a new permutation, incomplete batches are dropped."""
    per_epoch = num_images // batch_size
    epoch, position = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(seed * 7_919 + epoch)
    order = torch.randperm(num_images, generator=generator)
    return order[position * batch_size : (position + 1) * batch_size].tolist()


def seeded_batch(dataset: PartDataset, indices: list[int], seed: int, step: int, share: slice = slice(None)) -> Batch:
    """The samples at ``indices``, or the ``share`` of them that one process reads.

    Random crops depend on (seed, step, place in the batch) alone: neither the number of reading processes, nor that of
    training processes, nor an interruption decides what is drawn. Data sets draw from PyTorch's global generator, which
    is seeded for the moment and then put back.
    """
    places = range(len(indices))[share]
    if dataset.fixed_crop:
        return collate([dataset[indices[place]] for place in places])
    first = (seed * 15_485_863 + step) * len(indices)  # other numbers than those of jitter and warps
    samples = []
    with torch.random.fork_rng(devices=[]):
        for place in places:
            torch.default_generator.manual_seed(first + place)
            samples.append(dataset[indices[place]])
    return collate(samples)


class StepBatches(Dataset[Loaded]):
    """Item s is what this process reads at step s: its share of the batch, and what its features are made from."""

    def __init__(self, dataset: PartDataset, features: FeatureSource | None, config: TrainConfig) -> None:
        self.dataset, self.features, self.config = dataset, features, config
        self.own = distributed.share(config.batch_size)  # asked here: a reading process does not know its rank

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Loaded:
        c = self.config
        indices = batch_indices(len(self.dataset), c.batch_size, c.seed, step)
        batch = seeded_batch(self.dataset, indices, c.seed, step, self.own)
        return batch, self.features.load(indices[self.own]) if self.features is not None else []


class Prefetcher:
    """Step number -> its batch on the device.

    With ``workers`` processes the batches of the next steps are read while the device works on this one, into pinned
    memory where the device is a GPU, so that copying them does not stop the program. Without, a batch is read when it
    is asked for. Either way any step may be asked for; reading ahead pays when they come in order.
    """

    def __init__(self, batches: StepBatches, device: torch.device, workers: int = 0) -> None:
        self.batches, self.device, self.workers = batches, device, workers
        self._ahead: Iterator[Loaded] | None = None
        self._next = -1

    def __call__(self, step: int) -> Loaded:
        batch, loaded = self._read(step)
        return batch.to(self.device), [z.to(self.device, non_blocking=True) for z in loaded]

    def _read(self, step: int) -> Loaded:
        if not self.workers:
            return self.batches[step]
        if step != self._next or self._ahead is None:
            self._ahead = iter(self._loader(step))
        self._next = step + 1
        return next(self._ahead)

    def _loader(self, start: int) -> DataLoader:
        return DataLoader(
            self.batches,
            batch_size=None,  # an item is a batch already
            sampler=range(start, max(len(self.batches), start + 1)),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=_leave_interrupts_to_the_main_process,
        )


def _leave_interrupts_to_the_main_process(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
