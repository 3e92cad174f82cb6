"""Batches by step number, with their features, read ahead of the device.

What a step reads depends on seed and step alone: any process may read it, and a resumed run sees the same batches.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from partlib import distributed
from partlib.data.base import Batch, PartDataset, collate
from partlib.features import Features

Loaded = tuple[Batch, list[Tensor]]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of all randomness of one step. It depends on nothing that ran before, so resuming needs no state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def batch_indices(num_images: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Images of one step: every epoch is a new permutation, incomplete batches are dropped."""
    epoch, position = divmod(step, num_images // batch_size)
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(seed * 7_919 + epoch))
    return order[position * batch_size : (position + 1) * batch_size].tolist()


def seeded_batch(dataset: PartDataset, indices: list[int], seed: int, step: int, shard: slice = slice(None)) -> Batch:
    """The samples at ``indices``, or the ``shard`` of them that one process reads.

    Random crops depend on (seed, step, place in the batch) alone: PyTorch's global generator, which data sets draw
    from, is seeded for the moment and then put back.
    """
    if dataset.fixed_crop:  # nothing is drawn
        return collate([dataset[i] for i in indices[shard]])
    first = (seed * 15_485_863 + step) * len(indices)  # other numbers than those of jitter and warps
    samples = []
    with torch.random.fork_rng(devices=[]):
        for place in range(len(indices))[shard]:
            torch.default_generator.manual_seed(first + place)
            samples.append(dataset[indices[place]])
    return collate(samples)


@dataclass
class StepBatches(Dataset[Loaded]):
    """Item s is what this process reads at step s: its shard of the batch, and what its features are made from."""

    dataset: PartDataset
    features: Features | None
    batch_size: int
    seed: int
    steps: int

    def __post_init__(self) -> None:
        self.shard = distributed.shard(self.batch_size)  # asked here: a reading process does not know its rank

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Loaded:
        indices = batch_indices(len(self.dataset), self.batch_size, self.seed, step)
        batch = seeded_batch(self.dataset, indices, self.seed, step, self.shard)
        return batch, self.features.load(indices[self.shard]) if self.features is not None else []


class StepLoader:
    """Step number -> its batch and its features, on the device.

    ``workers`` processes read the next steps while the device works on this one, into pinned memory where it is a GPU,
    so that copying does not stop the program. Any step may be asked for; reading ahead pays when they come in order.
    """

    def __init__(
        self,
        batches: StepBatches,
        device: torch.device,
        scale: Callable[[list[Tensor]], list[Tensor]] | None = None,  # of feature maps, before the losses see them
        workers: int = 0,
        autocast: Callable[[], AbstractContextManager] = nullcontext,  # the context that features are computed in
    ) -> None:
        self.batches, self.device, self.scale, self.workers, self.autocast = batches, device, scale, workers, autocast
        self._ahead: Iterator[Loaded] | None = None
        self._next = -1

    def __call__(self, step: int) -> Loaded:
        """Images, masks and feature maps of one step; with several processes, the shard of this one."""
        batch, loaded = self._read(step)
        batch, loaded = batch.to(self.device), [z.to(self.device, non_blocking=True) for z in loaded]
        if self.batches.features is None:
            return batch, []
        with self.autocast():
            maps = self.batches.features(loaded, batch.images)
        return batch, self.scale(maps) if self.scale is not None else maps

    def _read(self, step: int) -> Loaded:
        if not self.workers:
            return self.batches[step]
        if step != self._next or self._ahead is None:
            steps, pinned = range(step, max(len(self.batches), step + 1)), self.device.type == "cuda"
            options: dict[str, Any] = {"num_workers": self.workers, "worker_init_fn": _leave_interrupts}
            # without a batch size: an item is a batch already
            self._ahead = iter(DataLoader(self.batches, None, sampler=steps, pin_memory=pinned, **options))
        self._next = step + 1
        return next(self._ahead)


def _leave_interrupts(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
