"""Which initial weights to train from: a few short trials, judged by training losses alone.

Where the decoder begins decides which division of the object a run settles on. As k-means keeps the best of several
clusterings, so here: every start sees the same images, jitter and warps for a few steps, and the one with the lowest
loss is trained in full. Before its trial a decoder can learn alone, on the fixed maps of the ImageNet encoder.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from partlib import distributed
from partlib.config import TrainConfig
from partlib.loader import step_generator
from partlib.runs.build import Recipe
from partlib.segmenter import resize
from partlib.training import GRAD_CLIP, Trainer

Tensors = dict[str, Tensor]
FEATURE_FACTOR, LR_FACTOR = 4.0, 3.0  # of the feature weight and the decoder's learning rate while it learns alone


def select_start(trainer: Trainer, recipe: Recipe, progress: bool = True) -> None:
    """Try all starts and leave the trainer at step 0 of the best one."""
    decoders = learn_decoders(trainer, recipe, range(recipe.config.starts), progress)

    def begin(start: int) -> None:
        begin_start(trainer, recipe, start, decoders[start])

    begin(best_start(recipe.config, trainer.advance, begin, progress))


def begin_start(trainer: Trainer, recipe: Recipe, start: int, decoder: Tensors | None = None) -> None:
    """Put the trainer at step 0 of a start; ``decoder`` holds the weights of its decoder, if it has learned already."""
    decoder = decoder or learn_decoders(trainer, recipe, [start])[0]
    trainer.restart(recipe.segmenter(start).state_dict())
    trainer.segmenter.decoder.load_state_dict(decoder)


def learn_decoders(trainer: Trainer, recipe: Recipe, starts: Sequence[int], progress: bool = False) -> list[Tensors]:
    """The decoders' weights of some starts after ``decoder_steps`` steps alone, at a constant learning rate.

    They learn from the images and the jitter of the run's first steps, without equivariance; the encoder's maps are the
    same for all. Without a feature loss there is nothing to learn from, and the decoders stay as they are.
    """
    config = recipe.config
    if config.arch.endswith(":random") and len(starts) > 1:  # random encoders differ
        return [decoder for start in starts for decoder in learn_decoders(trainer, recipe, [start], progress)]
    decoders, optimizers = [], []
    for start in starts:
        trainer.segmenter.load_state_dict(recipe.segmenter(start).state_dict())
        decoders.append(copy.deepcopy(trainer.segmenter.decoder))
        optimizers.append(recipe.optimizer([{"params": list(decoders[-1].parameters()), "lr": LR_FACTOR * config.lr}]))
    steps = config.decoder_steps if config.lambda_feature else 0
    for step in distributed.progress_bar(range(steps), "decoders", leave=False, shown=progress and steps > 0):
        losses = _decoder_losses(trainer, decoders, step)
        for decoder, optimizer, loss in zip(decoders, optimizers, losses, strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for parameter in decoder.parameters():
                if parameter.grad is not None:  # several processes: the gradient of the whole batch
                    parameter.grad = distributed.all_reduce_mean(parameter.grad)
            nn.utils.clip_grad_norm_(decoder.parameters(), GRAD_CLIP)
            optimizer.step()
    return [decoder.state_dict() for decoder in decoders]


def _decoder_losses(trainer: Trainer, decoders: list[nn.Module], step: int) -> Iterator[Tensor]:
    """The total loss of one decoder after the other, all on the same images, jitter and encoder maps."""
    weights = trainer.schedule.weights_at(0) | {"equivariance": 0.0}
    weights["feature"] *= FEATURE_FACTOR
    generator, objective, autocast = step_generator(trainer.seed, step), trainer.objective, trainer.loader.autocast
    # Images, features and encoder maps, once
    batch, features = trainer.loader(step)
    images = objective.jitter(batch.images, generator).contiguous(memory_format=torch.channels_last)
    lab = objective.lab(batch.images) if weights["visual"] else None
    jittered = generator.get_state()
    with torch.no_grad(), autocast():
        maps = trainer.segmenter.encoder(images)
    # Logits and losses of every decoder
    for decoder in decoders:
        with autocast():
            logits = decoder(maps)  # (B, K, h, w)
        logits = resize(logits.float(), images.shape[-2:])  # (B, K, H, W)
        generator.set_state(jittered)  # every decoder gets the same positives
        yield objective.terms([logits], batch.foreground, features, lab, None, weights, generator)["total"]


def best_start(
    config: TrainConfig, advance: Callable[[], Tensors], begin: Callable[[int], None], progress: bool = True
) -> int:
    """The start, 0 to ``config.starts - 1``, with the lowest mean loss over the later half of its trial; NaN loses.

    ``begin`` makes ``advance`` begin anew with the initial weights of a start. All processes take the same one.
    """
    means, steps = [], min(config.trial_steps, config.steps)
    with distributed.progress_bar(total=config.starts * steps, desc="starts", leave=False, shown=progress) as bar:
        for start in range(config.starts):
            begin(start)
            losses = []
            for _ in range(steps):
                losses.append(selection_loss(config, advance()))
                bar.update()
            mean = distributed.all_reduce_mean(torch.stack(losses[steps // 2 :]).mean()).item()
            means.append(math.inf if math.isnan(mean) else mean)
    return distributed.broadcast_object(lambda: min(range(config.starts), key=means.__getitem__))


def selection_loss(config: TrainConfig, terms: Tensors) -> Tensor:
    """The weighted sum of the losses named by ``select_by``; the total where none is named or none is trained."""
    chosen = [config.weight(name) * terms[name] for name in config.select_by if name in terms]
    return torch.stack(chosen).sum() if chosen else terms["total"]
