"""Lesson 05, feature consistency: clusters of single images, what a loss costs, descent without a network."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from torch import Tensor

from partlib.losses import consistency_loss
from partlib.segmenter import part_maps, resize

CELLS = 32  # side of the grid that clusters of single images are fitted on


@dataclass(frozen=True)
class Cost:
    """What one evaluation of a loss and its gradient takes."""

    seconds: float  # shortest of a few runs, forward and backward
    kept: int  # bytes that are kept between forward and backward, each memory once
    value: float
    gradient: Tensor


def cost(loss: Callable[[Tensor], Tensor], argument: Tensor) -> Cost:
    """Time and memory of ``loss(argument)`` with its gradient; ``loss`` returns a scalar."""
    seconds = float("inf")
    for _ in range(3):
        kept: dict[int, int] = {}  # address -> bytes

        def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        variable = argument.detach().clone().requires_grad_()
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = loss(variable)
        (gradient,) = torch.autograd.grad(result, variable)
        seconds = min(seconds, time.perf_counter() - started)
    return Cost(seconds, sum(kept.values()), float(result.detach()), gradient)


def image_clusters(features: Sequence[Tensor], foreground: Tensor, num_parts: int, seed: int = 0) -> Tensor:
    """K-means on the features of each image for itself: (nearly) the lowest feature loss that K parts can have.

    Features are maps (N, C_l, h_l, w_l), the foreground is (N, 1, H, W). Labels (N, H, W) are 0 off the object, 1..K on
    it. Nothing connects the numbers of two images: cluster 1 of one may be cluster 3 of the next.
    """
    inside = resize(foreground, (CELLS, CELLS))[:, 0] > 0.5  # (N, CELLS, CELLS)
    labels = torch.zeros(len(foreground), *foreground.shape[-2:], dtype=torch.long)
    for i, mask in enumerate(inside):
        cells = torch.cat([resize(level[i : i + 1], (CELLS, CELLS))[0] for level in features])  # (C, CELLS, CELLS)
        fitted = KMeans(num_parts, n_init=3, random_state=seed).fit(cells[:, mask].T.numpy())  # (P, C)
        means = torch.from_numpy(fitted.cluster_centers_).float()  # (K, C)
        scores = torch.einsum("kc,chw->khw", 2 * means, cells) - (means**2).sum(1)[:, None, None]
        nearest = resize(scores[None], foreground.shape[-2:])[0].argmax(0) + 1  # (H, W)
        labels[i] = nearest * (foreground[i, 0] > 0.5)
    return labels


def descend(
    logits: Tensor, features: Sequence[Tensor], foreground: Tensor, steps: int, rate: float = 20.0
) -> tuple[Tensor, list[float]]:
    """Gradient descent on the feature loss where every pixel's logits are free: what the loss does without a network.

    Starts at ``logits`` (B, K, H, W); ``rate`` is the step size in logits, for a loss summed over pixels. Returns the
    logits at the end and the loss before every step.
    """
    logits, losses = logits.detach().clone(), []
    for _ in range(steps):
        logits.requires_grad_()
        loss = consistency_loss(part_maps(logits, foreground), list(features), foreground, reduction="none")  # (B,)
        (gradient,) = torch.autograd.grad((loss * foreground.sum((1, 2, 3))).sum(), logits)
        logits = (logits - rate * gradient).detach()
        losses.append(float(loss.detach().mean()))
    return logits, losses


def loss_against_score(losses: Mapping[str, float], scores: Mapping[str, float]) -> Figure:
    """Divisions by their feature loss (x) and their score (y), each with its name."""
    figure = Figure()
    ax = figure.subplots()
    for k, (name, loss) in enumerate(losses.items(), start=1):
        ax.scatter(loss, scores[name], s=60, zorder=3)
        offset = (8, -12 if k % 4 == 0 else 4)  # above and below, as neighbors are often close
        ax.annotate(name, (loss, scores[name]), xytext=offset, textcoords="offset points", fontsize=9)
    ax.margins(x=0.25, y=0.15)
    ax.set(xlabel="feature loss (lower is what the loss wants)", ylabel="FG-NMI")
    ax.grid()
    return figure


def descent_curves(curves: Mapping[str, Sequence[float]], limit: float, title: str) -> Figure:
    """Losses over steps from several starts, and a dotted line at ``limit`` with its title."""
    figure = Figure()
    ax = figure.subplots()
    for k, (name, values) in enumerate(curves.items(), start=1):
        ax.plot(values, lw=2, ls=("-", "--", "-.")[k % 3], label=name)
    ax.axhline(limit, color="black", lw=1, ls=":", label=title)
    ax.set(xlabel="step", ylabel="feature loss", ylim=(0, None))
    ax.legend()
    ax.grid()
    return figure
