"""Feature consistency from outside: clusters of single images, what a loss costs, descent without a network."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from partlib.errors import ConfigError, DataError
from partlib.losses import consistency_loss
from partlib.segmenter import part_maps, resize

CELLS = 32  # side of the grid that clusters of single images are fitted on
RUNS = 3  # of a function that is timed; the shortest counts


@dataclass(frozen=True)
class Cost:
    """What one evaluation of a loss and its gradient takes.

    Attributes
    ----------
    seconds : shortest of a few runs, forward and backward.
    kept : bytes that are kept between forward and backward, each memory once.
    value, gradient : the loss, and its gradient with respect to the argument.
    """

    seconds: float
    kept: int
    value: float
    gradient: Tensor


def cost(loss: Callable[[Tensor], Tensor], argument: Tensor) -> Cost:
    """Time and memory of ``loss(argument)`` with its gradient; ``loss`` returns a scalar."""
    shortest, memory, value, gradient = float("inf"), 0, 0.0, argument
    for _ in range(RUNS):
        kept: dict[int, int] = {}  # address -> bytes

        def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        variable = argument.detach().clone().requires_grad_()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = loss(variable)
        (gradient,) = torch.autograd.grad(result, variable)
        shortest = min(shortest, time.perf_counter() - started)
        memory, value = sum(kept.values()), float(result.detach())
    return Cost(shortest, memory, value, gradient)


def image_clusters(features: Sequence[Tensor], foreground: Tensor, num_parts: int, seed: int = 0) -> Tensor:
    """K-means on the features of each image for itself: (nearly) the lowest feature loss that K parts can have.

    Nothing connects the numbers of two images: cluster 1 of one may be cluster 3 of the next.

    Parameters
    ----------
    features : maps (N, C_l, h_l, w_l), one per layer.
    foreground : (N, 1, H, W); above 0.5 is the object.
    num_parts : K, at least 1.
    seed : of k-means.

    Returns
    -------
    Tensor, (N, H, W) int64, 0 off the object, 1..K on it.

    Raises
    ------
    DataError : an object with fewer cells than parts.
    """
    inside = resize(foreground, (CELLS, CELLS))[:, 0] > 0.5  # (N, CELLS, CELLS)
    labels = torch.zeros(len(foreground), *foreground.shape[-2:], dtype=torch.long)
    for i, mask in enumerate(inside):
        cells = torch.cat([resize(level[i : i + 1], (CELLS, CELLS))[0] for level in features])  # (C, CELLS, CELLS)
        vectors = cells[:, mask].T  # (C, P) -> (P, C)
        if num_parts < 1 or len(vectors) < num_parts:
            raise DataError(
                f"{num_parts} parts asked for, object {i} has {len(vectors)} cells; expected 1 to that many"
            )
        centers = KMeans(num_parts, n_init=3, random_state=seed).fit(vectors.numpy()).cluster_centers_
        means = torch.from_numpy(centers).float()  # (K, C)
        scores = torch.einsum("kc,chw->khw", 2 * means, cells) - (means**2).sum(1)[:, None, None]
        nearest = resize(scores[None], foreground.shape[-2:])[0].argmax(0) + 1  # (H, W)
        labels[i] = nearest * (foreground[i, 0] > 0.5)
    return labels


def descend(
    logits: Tensor, features: Sequence[Tensor], foreground: Tensor, steps: int, rate: float = 20.0
) -> tuple[Tensor, list[float]]:
    """Gradient descent on the feature loss where every pixel's logits are free: what the loss does without a network.

    Parameters
    ----------
    logits : (B, K, H, W), where to start.
    features : maps (B, C_l, h_l, w_l).
    foreground : (B, 1, H, W).
    steps : number of steps.
    rate : step size in units of logits, for a loss summed over pixels.

    Returns
    -------
    The logits at the end and the loss before every step.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected at least 1")
    logits, losses = logits.detach().clone(), []
    for _ in range(steps):
        logits.requires_grad_()
        loss = consistency_loss(part_maps(logits, foreground), list(features), foreground, reduction="none")  # (B,)
        (gradient,) = torch.autograd.grad((loss * foreground.sum((1, 2, 3))).sum(), logits)
        logits = (logits - rate * gradient).detach()
        losses.append(float(loss.detach().mean()))
    return logits, losses
