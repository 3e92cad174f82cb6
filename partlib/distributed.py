"""One run in several processes: all that they have to tell each other.

``torchrun --nproc_per_node=2 -m partlib train ...`` starts two copies of the program. Each segments its shard of every
batch, and the result is that of one process with the whole batch: the mean of the ranks' gradients is the gradient of
a mean over images; contrast sees the descriptors of all, with gradient (:func:`all_gather`); and every rank draws the
random numbers of the whole batch and keeps its own rows (:func:`own_rows`). Rank 0 writes the files.
"""

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm.auto import tqdm

from partlib.errors import ConfigError

Value = TypeVar("Value")
PATIENCE = timedelta(hours=2)  # how long ranks wait for rank 0 to compute the features of a large data set


def rank() -> int:
    """Number of this process among all, from 0."""
    return dist.get_rank() if _joined() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _joined() else 1


def local_rank() -> int:
    """Number of this process among those on this machine, from 0; also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def processes(device: str = "auto") -> Iterator[None]:
    """Join the processes that torchrun started, each with a GPU of its own where there are any; leave at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _joined():
        yield
        return
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is {device!r} for all processes alike; expected auto, cpu or cuda under torchrun")
    backend = "gloo"
    if device != "cpu" and torch.cuda.is_available():
        found = torch.cuda.device_count()
        if local_rank() >= found:
            raise ConfigError(f"more processes than the {found} GPUs here; expected --nproc_per_node={found}")
        torch.cuda.set_device(local_rank())  # what "cuda" means from here on
        backend = "nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard(total: int) -> slice:
    """The part of a batch of ``total`` images that this process works on."""
    each, odd = divmod(total, world_size())
    if odd:  # the mean over ranks would weigh images unequally
        raise ConfigError(f"batch_size is {total}; expected a multiple of the {world_size()} processes")
    return slice(rank() * each, (rank() + 1) * each)


def own_rows(draw: Callable[[int], Tensor], own: int, dim: int = 0) -> Tensor:
    """The rows along ``dim`` of this rank's ``own`` images, of random numbers that ``draw(images of all)`` makes."""
    return draw(own * world_size()).narrow(dim, rank() * own, own)


def all_gather(rows: Tensor) -> Tensor:
    """Rows of all N ranks, rank 0 first: (B, ...) -> (N B, ...), with gradient.

    Where all ranks compute the same loss, the own rows get N times its gradient; DistributedDataParallel divides by N.
    """
    if not _joined():
        return rows
    from torch.distributed.nn import functional  # on use: not every build of PyTorch has it

    return torch.cat(functional.all_gather(rows.contiguous()))


@torch.no_grad()
def all_reduce_mean(values: Tensor) -> Tensor:
    """Mean over the ranks, entry by entry, the same on all."""
    if not _joined():
        return values
    values = values.detach().clone()
    dist.all_reduce(values)
    return values / world_size()


def broadcast_object(make: Callable[[], Value]) -> Value:
    """What ``make`` returns on rank 0, on every rank: a file is read by one process."""
    if not _joined():
        return make()
    box = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[return-value]


def progress_bar(*arguments: Any, shown: bool = True, **options: Any) -> tqdm:
    """tqdm's bar, on rank 0 alone; hidden where not ``shown``, and with ``TQDM_DISABLE=1`` in the environment."""
    # tqdm's own bars for notebooks do not look at the variable
    hidden = not shown or rank() > 0 or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(*arguments, disable=hidden, **options)


@contextmanager
def local_main_first() -> Iterator[None]:
    """Let one process of each machine go first, to fill a cache that the others then read."""
    if _joined() and local_rank() > 0:
        dist.barrier()
    yield
    if _joined() and local_rank() == 0:
        dist.barrier()


def replicate(network: nn.Module) -> nn.Module:
    """``network``, on this rank's device, so that ``backward`` leaves the mean of all gradients on every rank."""
    if not _joined():
        return network
    parallel = nn.parallel.DistributedDataParallel
    # PyTorch is renaming the option that leaves BatchNorm's statistics to each rank
    newer = "forward_sync_buffers" in inspect.signature(parallel.__init__).parameters
    leave_buffers: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
    return parallel(network, gradient_as_bucket_view=True, **leave_buffers)
