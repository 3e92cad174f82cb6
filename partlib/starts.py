"""Which initial weights to train from: a few short trials, judged by the training loss alone.

The decoder starts at random, and where it starts decides which division of the object the run settles on; most of the
spread between seeds comes from here. As k-means is started several times and its best clustering kept, so here: every
start sees the same images, jitter and warps for a few steps, and the one with the lowest loss is trained in full. No
annotation is involved.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from partlib import distributed
from partlib.config import TrainConfig
from partlib.segmenter import PartSegmenter

STRIDE = 104_729  # far apart, so that no start of one seed is a start of another seed that people choose


def initial_segmenter(config: TrainConfig, start: int = 0) -> PartSegmenter:
    """The untrained network of one start, the same every time; start 0 is that of a run without trials."""
    torch.manual_seed(config.seed + STRIDE * start)
    return PartSegmenter.from_config(config)


def choose_start(
    config: TrainConfig,
    advance: Callable[[], dict[str, Tensor]],
    reset: Callable[[int], None],
    progress: bool = True,
) -> int:
    """The start, 0 to ``config.starts - 1``, with the lowest mean total loss over the later half of its trial.

    Parameters
    ----------
    config : ``starts`` trials of ``start_steps`` steps each.
    advance : takes one step and returns its losses, "total" among them.
    reset : makes ``advance`` begin anew with the initial weights of a start.
    progress : show a progress bar.

    A loss that is not finite counts as infinite; where all are, start 0 is taken and training reports the error.
    Several processes compare the mean of their losses, and all take the start that rank 0 takes.
    """
    means, steps = [], min(config.start_steps, config.steps)
    hidden = not progress or distributed.rank() > 0
    for start in tqdm(range(config.starts), desc="starts", leave=False, disable=hidden):
        reset(start)
        totals = torch.stack([advance()["total"] for _ in range(steps)])  # (steps,)
        mean = distributed.mean(totals[steps // 2 :].mean()).item()
        means.append(mean if mean == mean else float("inf"))  # NaN is the only number that differs from itself
    return distributed.from_first(lambda: min(range(config.starts), key=means.__getitem__))
