"""Batches by step number, with their features, read ahead of the device.

What a step reads depends on seed and step alone: any process may read it, and a resumed run sees the same batches.
Where the encoder is frozen, what it sees of a view never changes: :class:`ViewBank` keeps its maps of some views of
every image, and a step reads those instead of computing them.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from partlib import distributed, warps
from partlib.augment import ColorJitter
from partlib.backbones import folded
from partlib.data.base import Batch, PartDataset, ViewBatch, collate
from partlib.features import Features, digest_of
from partlib.paths import Rows, Shapes, cached_rows, gigabytes, read

Loaded = tuple[Batch, list[Tensor]]


@dataclass
class ViewBank:
    """Maps of V jittered views of every image, and of V jittered and warped ones: what a frozen encoder sees of them.

    ``maps`` are (N, 2 V, h_l, w_l, C_l) float16 per layer, memory-mapped, the warped views last; ``points`` are their
    warps (N, V, 25, 2); ``images`` (N, 3, S, S) and ``foreground`` (N, 1, S, S) the clean images at the losses' size.
    """

    maps: list[np.ndarray]
    points: Tensor
    images: np.ndarray
    foreground: np.ndarray

    def batch(self, indices: list[int], choice: Tensor) -> ViewBatch:
        """The images at ``indices``, with the jittered and the warped view of each that ``choice`` (2, B) names."""
        images, foreground = (read(z, indices).float() for z in (self.images, self.foreground))
        rows, views = 2 * indices, [*choice[0].tolist(), *(choice[1] + self.points.shape[1]).tolist()]
        stored = [read(z, (rows, views)) for z in self.maps]  # (2 B, h, w, C)
        maps = [z.permute(0, 3, 1, 2) for z in stored]  # (2 B, C, h, w), channels last in memory
        points = self.points[indices, choice[1]]  # (B, 25, 2)
        return ViewBatch(images, foreground, None, None, torch.zeros(len(indices)), [], maps, points)


@torch.no_grad()
def view_bank(dataset: PartDataset, encoder: nn.Module, views: int, size: int, limit_gb: float = 20.0) -> ViewBank:
    """The bank of ``views`` jittered and as many warped views of ``dataset``, computed once, then read from the cache.

    The same for every seed of a run, which decides what views a step reads.
    """
    device, total, jitter = next(encoder.parameters()).device, len(dataset), ColorJitter()
    generator = torch.Generator().manual_seed(0)
    points = warps.random_points(total * views, generator).view(total, views, -1, 2)  # (N V, 25, 2) -> (N, V, 25, 2)
    draws = jitter.draw(total * 2 * views, generator).view(-1, total, 2 * views)  # (6, 2 N V) -> (6, N, 2 V)
    layers: tuple[str, ...] = encoder.layers  # type: ignore[assignment]
    network = folded(encoder)

    def maps_of(index: int) -> list[Tensor]:
        """What the encoder sees of all views of an image, (2 V, C_l, h_l, w_l) per layer."""
        image = dataset[index].image.to(device).expand(2 * views, -1, -1, -1)  # (2 V, 3, H, W)
        jittered = jitter(image, draws=draws[:, index])
        grid = warps.thin_plate_grid(points[index].to(device), (image.shape[-2], image.shape[-1]))
        both = torch.cat([jittered[:views], warps.warp(jittered[views:], grid)])
        return network(both.contiguous(memory_format=torch.channels_last))

    def plan() -> tuple[str, Shapes, Callable[[int], Iterator[Rows]]]:
        shapes = {layer: (total, *z.permute(0, 2, 3, 1).shape) for layer, z in zip(layers, maps_of(0), strict=True)}
        shapes |= {"images": (total, 3, size, size), "foreground": (total, 1, size, size)}
        title = f"views of {dataset.name} {dataset.split} ({gigabytes(shapes):.1f} GB)"
        return f"maps of {2 * views} views of {total} images", shapes, lambda first: rows(first, title)

    def rows(first: int, title: str) -> Iterator[Rows]:
        for i in distributed.progress_bar(range(first, total), title, leave=False):
            sample = dataset[i]
            image = F.interpolate(sample.image[None], (size, size), mode="area")  # (1, 3, size, size)
            inside = F.interpolate(sample.foreground[None], (size, size), mode="area") > 0.5  # (1, 1, size, size)
            maps = [z.permute(0, 2, 3, 1)[None].half().cpu() for z in maps_of(i)]  # (1, 2 V, h, w, C)
            stored = {**dict(zip(layers, maps, strict=True)), "images": image, "foreground": inside}
            yield {name: tensor.numpy() for name, tensor in stored.items()}

    key = [dataset.fingerprint(), digest_of(encoder), layers, views, dataset.image_size, size, total]
    arrays = cached_rows("views", key, plan, limit_gb)
    return ViewBank([arrays[layer] for layer in layers], points, arrays["images"], arrays["foreground"])


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
    bank: ViewBank | None = None  # of a frozen encoder; None where the network sees the images themselves

    def __post_init__(self) -> None:
        self.shard = distributed.shard(self.batch_size)  # asked here: a reading process does not know its rank

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Loaded:
        indices = batch_indices(len(self.dataset), self.batch_size, self.seed, step)
        if self.bank is None:
            batch = seeded_batch(self.dataset, indices, self.seed, step, self.shard)
        else:
            generator, views = step_generator(self.seed, step), self.bank.points.shape[1]
            choice = torch.randint(views, (2, self.batch_size), generator=generator)  # (2, B)
            batch = self.bank.batch(indices[self.shard], choice[:, self.shard])
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
        self._next = self._kept = -1

    def __call__(self, step: int) -> Loaded:
        """Images, masks and feature maps of one step; with several processes, the shard of this one.

        A step that is asked for again and again, as by several starts, is read once.
        """
        if step != self._kept:
            self._step, self._kept = self._load(step), step
        return self._step

    def _load(self, step: int) -> Loaded:
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
