"""Which initial weights to train from: a few short trials, judged by training losses alone.

The decoder starts at random, and where it starts decides which division of the object the run settles on; most of the
spread between seeds comes from here. As k-means is started several times and its best clustering kept, so here: every
start sees the same images, jitter and warps for a few steps, and the one with the lowest loss is trained in full. No
annotation is involved.

Before its trial a start can be warmed up: its decoder learns alone, on the fixed maps of the ImageNet backbone and
mostly from the feature loss. These steps are cheap, and they lead to a division of the whole object; from random
weights at full speed, many starts end with a part of legs alone.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from partlib import distributed
from partlib.config import TrainConfig
from partlib.objective import Objective, step_generator
from partlib.optimizer import decoder_optimizer
from partlib.segmenter import PartSegmenter, resize

if TYPE_CHECKING:
    from partlib.training import Trainer

STRIDE = 104_729  # far apart, so that no start of one seed is a start of another seed that people choose
WARM_FEATURE, WARM_LR = 4.0, 3.0  # factors of the feature weight and of the decoder's learning rate in the warm-up


def initial_segmenter(config: TrainConfig, start: int = 0) -> PartSegmenter:
    """The untrained network of one start, the same every time; start 0 is that of a run without trials."""
    torch.manual_seed(config.seed + STRIDE * start)
    return PartSegmenter.from_config(config)


def begin_with_the_best_start(trainer: "Trainer", progress: bool = True) -> None:
    """Warm up all starts, try them, and leave the trainer at step 0 of the one that is chosen."""
    decoders = warm_up(trainer, range(trainer.config.starts), progress)

    def begin(start: int) -> None:
        trainer.reset(start, decoders[start])

    begin(choose_start(trainer.config, trainer.advance, begin, progress))


def warm_up(trainer: "Trainer", starts: Sequence[int], progress: bool = False) -> list[dict[str, Tensor]]:
    """The decoders of some starts after ``warmup_steps`` steps alone: backbone fixed, a larger feature weight.

    They learn from the images and the jitter of the run's first steps, at a constant learning rate and without
    equivariance. The backbone is the same for all, so its maps are computed once for all. Without a feature loss there
    is nothing to warm up with, and the decoders stay as they are. The trainer's segmenter is left with the initial
    weights of the last start.

    Returns one state dict per start, of the decoder.
    """
    config = trainer.config
    if not config.pretrained and len(starts) > 1:  # random backbones differ
        return [decoder for start in starts for decoder in warm_up(trainer, [start], progress)]
    decoders = []
    for start in starts:
        trainer.segmenter.load_state_dict(initial_segmenter(config, start).state_dict())
        decoders.append(copy.deepcopy(trainer.prepared().decoder))
    if config.feature:
        _learn_alone(trainer, decoders, progress)
    return [decoder.state_dict() for decoder in decoders]


def _learn_alone(trainer: "Trainer", decoders: list[nn.Module], progress: bool) -> None:
    """Train decoders on the backbone maps of the trainer's segmenter, in place."""
    config = trainer.config
    objective = Objective(config.replace(feature=WARM_FEATURE * config.feature, equivariance=0.0))
    optimizers = [decoder_optimizer(decoder, config, WARM_LR * config.lr) for decoder in decoders]
    hidden = not progress or distributed.rank() > 0 or not config.warmup_steps
    for step in tqdm(range(config.warmup_steps), desc="warm-up", leave=False, disable=hidden):
        losses = _decoder_losses(trainer, objective, decoders, step)
        for decoder, optimizer, loss in zip(decoders, optimizers, losses, strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for parameter in decoder.parameters():
                if parameter.grad is not None:  # several processes: the gradient of the whole batch
                    parameter.grad = distributed.mean(parameter.grad)
            nn.utils.clip_grad_norm_(decoder.parameters(), config.grad_clip)
            optimizer.step()


def _decoder_losses(trainer: "Trainer", objective: Objective, decoders: list[nn.Module], step: int) -> Iterator[Tensor]:
    """The warm-up's total loss of one decoder after the other, all on the same images, jitter and backbone maps."""
    generator = step_generator(trainer.config.seed, step)
    batch, features = trainer.batch(step)
    images = objective.jitter(batch.images, generator).contiguous(memory_format=torch.channels_last)
    lab = objective.lab(batch.images)
    jittered = generator.get_state()
    with torch.no_grad(), trainer.execution.autocast(trainer.device):
        levels = trainer.segmenter.encoder(images)
    for decoder in decoders:
        with trainer.execution.autocast(trainer.device):
            logits = decoder(levels)  # (B, K, h, w)
        logits = resize(logits.float(), images.shape[-2:])  # (B, K, H, W)
        generator.set_state(jittered)  # every decoder gets the same positives
        yield objective.terms([logits], batch.foreground, features, lab, None, generator=generator)["total"]


def choose_start(
    config: TrainConfig,
    advance: Callable[[], dict[str, Tensor]],
    reset: Callable[[int], None],
    progress: bool = True,
) -> int:
    """The start, 0 to ``config.starts - 1``, with the lowest mean loss over the later half of its trial.

    Parameters
    ----------
    config : ``starts`` trials of ``start_steps`` steps each, compared by :func:`judged`.
    advance : takes one step and returns its losses, "total" among them.
    reset : makes ``advance`` begin anew with the initial weights of a start.
    progress : show a progress bar.

    A loss that is not finite counts as infinite; where all are, start 0 is taken and training reports the error.
    Several processes compare the mean of their losses, and all take the start that rank 0 takes.
    """
    means, steps = [], min(config.start_steps, config.steps)
    hidden = not progress or distributed.rank() > 0
    with tqdm(total=config.starts * steps, desc="starts", leave=False, disable=hidden) as bar:
        for start in range(config.starts):
            reset(start)
            losses = []
            for _ in range(steps):
                losses.append(judged(config, advance()))
                bar.update()
            mean = distributed.mean(torch.stack(losses[steps // 2 :]).mean()).item()
            means.append(mean if mean == mean else float("inf"))  # NaN is the only number that differs from itself
    return distributed.from_first(lambda: min(range(config.starts), key=means.__getitem__))


def judged(config: TrainConfig, terms: dict[str, Tensor]) -> Tensor:
    """The weighted sum of the losses named by ``start_losses``; the total where none is named or none is trained."""
    chosen = [getattr(config, name) * terms[name] for name in config.start_losses if name in terms]
    return torch.stack(chosen).sum() if chosen else terms["total"]
