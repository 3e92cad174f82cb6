"""Which initial weights to train from: a race of some steps, judged by training losses alone.

Where the decoder begins decides which division of the object a run settles on. As k-means keeps the best of several
clusterings, so here: all starts take the first steps of the run on the same batches, and the one with the lowest loss
goes on. Parts that are easy to find again in a warped image are the better ones: beside the contrast, whose differences
are far larger, equivariance counts ``EQUIVARIANCE`` times as much as in training. Colors do not count: patches of one
color lower their loss; where the object has very small parts, contrast does not either: they alone lower it.
"""

import math

import torch
from torch import Tensor

from partlib import distributed
from partlib.config import TrainConfig
from partlib.training import Trainer

Tensors = dict[str, Tensor]
EQUIVARIANCE = 6.0


def race(trainers: list[Trainer], config: TrainConfig, progress: bool = True) -> tuple[Trainer, list[Tensors]]:
    """The start with the lowest mean loss over the later half of the first ``trial_steps``, and its losses in them.

    NaN loses. All processes take the same one.
    """
    steps = min(config.trial_steps, config.steps)
    seen: list[list[Tensors]] = [[] for _ in trainers]
    with distributed.progress_bar(total=steps, desc=f"{len(trainers)} starts", leave=False, shown=progress) as bar:
        for _ in range(steps):
            for trainer, terms in zip(trainers, seen, strict=True):
                terms.append(trainer.advance())
            bar.update()
    losses = [torch.stack([comparison_loss(config, step) for step in terms[steps // 2 :]]).mean() for terms in seen]
    means = [math.inf if math.isnan(x) else x for x in distributed.all_reduce_mean(torch.stack(losses)).tolist()]
    best = distributed.broadcast_object(lambda: min(range(len(means)), key=means.__getitem__))
    return trainers[best], seen[best]


def comparison_loss(config: TrainConfig, terms: Tensors) -> Tensor:
    """The weighted losses named by ``select_by``, as the module says; the total where none of them is trained."""
    more = {"equivariance": EQUIVARIANCE} if "contrastive" in config.select_by else {}
    chosen = [more.get(name, 1.0) * config.weight(name) * terms[name] for name in config.select_by if name in terms]
    return torch.stack(chosen).sum() if chosen else terms["total"]
