"""The contrast from outside: who is compared with whom, numbers that are shuffled, parts that only whisper."""

import torch
from torch import Tensor
from torch.nn import functional as F

from partlib.errors import ConfigError


def similarities(descriptors: Tensor) -> Tensor:
    """Cosines (K B, K B) of descriptors (B, K, C), ordered by part: row k B + b is part k of image b."""
    unit = F.normalize(descriptors.transpose(0, 1).flatten(0, 1), dim=1)  # (B, K, C) -> (K B, C)
    return unit @ unit.T


def roles(num_images: int, num_parts: int) -> Tensor:
    """What pairs are to each other, (K B, K B) in the order of :func:`similarities`.

    1 positive (the same part of another image), -1 negative (another part), 0 the descriptor with itself.
    """
    part = torch.arange(num_parts).repeat_interleave(num_images)  # (K B,)
    same = part[:, None] == part
    return torch.where(same, 1, -1) * (1 - torch.eye(len(part), dtype=torch.long))


def attention(descriptors: Tensor, image: int, part: int, temperature: float) -> Tensor:
    """Softmax of one descriptor's cosines over all others: how much each pulls, (K B,), 0 for itself."""
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; expected a positive number such as 0.19")
    row = part * len(descriptors) + image
    values = similarities(descriptors)[row] / temperature
    values[row] = -torch.inf
    return values.softmax(0)


def shuffle_parts(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Part maps (B, K, H, W) with the numbers of the parts permuted, in each image in its own way."""
    return torch.stack([m[torch.randperm(len(m), generator=generator)] for m in maps])


def whisper(maps: Tensor, loud: int, share: float) -> Tensor:
    """The same parts, nearly silent: all but one keep a fraction of their mass, and the loud one takes the rest.

    Parameters
    ----------
    maps : (B, K, H, W) part maps.
    loud : index of the part that takes over.
    share : what the others keep, above 0 and at most 1. Below 1/2 the loud part is the likeliest at every pixel.

    Returns
    -------
    (B, K, H, W) with the same sum over the parts.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}; expected a number above 0 and at most 1")
    quiet = maps * share
    quiet[:, loud] += (1 - share) * maps.sum(1)
    return quiet


def soft_and_hard_shares(logits: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    """How the object is divided among the parts, by probabilities and by the likeliest part: (K,) each, sums 1.

    Parameters
    ----------
    logits : (B, K, H, W).
    foreground : (B, 1, H, W).
    """
    area = foreground.sum()
    soft = (logits.softmax(1) * foreground).sum((0, 2, 3)) / area
    likeliest = F.one_hot(logits.argmax(1), logits.shape[1]).movedim(-1, 1)  # (B, H, W, K) -> (B, K, H, W)
    return soft, (likeliest * foreground).sum((0, 2, 3)) / area
