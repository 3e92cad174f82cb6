"""Damage done to a segmentation on purpose, so that a score can be judged: it should fall as the damage grows.

Every function takes part labels (N, H, W), integers with 0 for background, and a ``strength`` from 0 (no change) to 1.
The foreground never changes, only how it is divided.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from partlib.errors import ConfigError, DataError

MOST_SHIFT = 0.2  # of the image side
MOST_PIECES = 4
LARGEST_BLOCK = 0.25  # of the image side


def merge_parts(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Under-segmentation: the last parts become one; at strength 1 one part is left."""
    highest = int(labels.max())
    left = highest - round(strength * (highest - 1))
    return labels.clamp(max=left)


def split_parts(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Over-segmentation: every part is cut from left to right into up to four pieces of equal width."""
    pieces = 1 + round(strength * (MOST_PIECES - 1))
    result = torch.zeros_like(labels)
    for k in range(1, int(labels.max()) + 1):
        inside = labels == k  # (N, H, W)
        first, last = _columns(inside)  # (N,) each
        x = torch.arange(labels.shape[-1], device=labels.device)
        width = (last - first + 1).clamp(min=1)
        piece = ((x - first[:, None]) * pieces // width[:, None]).clamp(0, pieces - 1)  # (N, W)
        number = ((k - 1) * pieces + 1 + piece[:, None]).to(labels.dtype)  # (N, 1, W)
        result = torch.where(inside, number, result)
    return result


def _columns(inside: Tensor) -> tuple[Tensor, Tensor]:
    """First and last column (N,) with a pixel of ``inside`` (N, H, W)."""
    used = inside.any(dim=1).long()  # (N, W)
    return used.argmax(dim=1), used.shape[1] - 1 - used.flip(1).argmax(dim=1)


def shift_borders(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """All borders between parts move, in every image in a direction of its own, by up to a fifth of the image side."""
    angles = 2 * math.pi * torch.rand(len(labels), generator=torch.Generator().manual_seed(seed))
    distance = strength * MOST_SHIFT * labels.shape[-1]
    moved = torch.empty_like(labels)
    for i, (map_, angle) in enumerate(zip(labels, angles.tolist(), strict=True)):
        dy, dx = round(distance * math.sin(angle)), round(distance * math.cos(angle))
        inside = map_.cpu().numpy() > 0
        if not inside.any():
            moved[i] = map_
            continue
        # Pixels that would be read from the background take the nearest part instead.
        nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)  # (2, H, W)
        y = np.clip(np.arange(inside.shape[0]) + dy, 0, inside.shape[0] - 1)
        x = np.clip(np.arange(inside.shape[1]) + dx, 0, inside.shape[1] - 1)
        filled = map_[torch.from_numpy(nearest[0]).long(), torch.from_numpy(nearest[1]).long()]  # (H, W)
        moved[i] = filled[y][:, x] * (map_ > 0)
    return moved


def coarse_blocks(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Low resolution: every block of pixels takes its most frequent part; blocks grow to a quarter of the image."""
    side = max(1, round(strength * LARGEST_BLOCK * labels.shape[-1]))
    highest = int(labels.max())
    # one part at a time: all maps together would not fit where memory is scarce
    counts = [F.avg_pool2d((labels == k).float()[:, None], side, ceil_mode=True) for k in range(1, highest + 1)]
    winner = (torch.cat(counts, dim=1).argmax(dim=1) + 1).to(labels.dtype)  # (N, K, h, w) -> (N, h, w)
    enlarged = winner.repeat_interleave(side, 1).repeat_interleave(side, 2)  # (N, >= H, >= W)
    return enlarged[:, : labels.shape[1], : labels.shape[2]] * (labels > 0)


def random_pixels(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Noise: a fraction ``strength`` of the pixels takes a random part."""
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(labels.shape, generator=generator).to(labels.device) < strength
    drawn = torch.randint(1, int(labels.max()) + 1, labels.shape, generator=generator, dtype=torch.int16)
    return torch.where(hit & (labels > 0), drawn.to(labels), labels)


def cores_only(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """Every part keeps the pixels nearest to its centre; the rest of the object becomes one more part.

    At strength 1 a part keeps a fiftieth of its pixels: it has shrunk to a dot, as a keypoint detector would give.
    """
    result = labels.clone()
    keep = 1 - 0.98 * strength
    rest = int(labels.max()) + 1
    y, x = torch.meshgrid(*(torch.arange(s, dtype=torch.float32) for s in labels.shape[1:]), indexing="ij")  # (H, W)
    for found, changed in zip(labels, result, strict=True):
        for k in range(1, rest):
            inside = found == k  # (H, W)
            if not inside.any():
                continue
            distance = (x - x[inside].mean()) ** 2 + (y - y[inside].mean()) ** 2  # (H, W)
            changed[inside & (distance > torch.quantile(distance[inside], keep))] = rest
    return result


def mix_up_images(labels: Tensor, strength: float, seed: int = 0) -> Tensor:
    """In a fraction ``strength`` of the images the parts trade their numbers: good borders, no consistency."""
    generator = torch.Generator().manual_seed(seed)
    result = labels.clone()
    chosen = torch.randperm(len(labels), generator=generator)[: round(strength * len(labels))]
    for i in chosen.tolist():
        order = torch.randperm(int(labels.max()), generator=generator) + 1
        result[i] = torch.cat([torch.zeros(1, dtype=torch.long), order])[labels[i].long()].to(labels.dtype)
    return result


DAMAGES: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "merge parts": merge_parts,
    "split parts": split_parts,
    "shift borders": shift_borders,
    "coarse blocks": coarse_blocks,
    "random pixels": random_pixels,
    "cores only": cores_only,
    "mix up images": mix_up_images,
}


def degrade(labels: Tensor, damage: str, strength: float, seed: int = 0) -> Tensor:
    """Do one of the :data:`DAMAGES` to a stack of segmentations.

    Parameters
    ----------
    labels : (N, H, W) integers, 0 is background, 1..K are parts.
    damage : a key of :data:`DAMAGES`.
    strength : 0 (no change) to 1.
    seed : of whatever is drawn at random.

    Returns
    -------
    Tensor, (N, H, W) of the same type, 0 exactly where ``labels`` is.

    Raises
    ------
    ConfigError : unknown damage, or a strength out of range.
    DataError : labels of another shape, or without a part.
    """
    if damage not in DAMAGES:
        raise ConfigError(f"damage {damage!r} is unknown; expected one of {', '.join(DAMAGES)}")
    if not 0 <= strength <= 1:
        raise ConfigError(f"strength is {strength}; expected 0 to 1")
    if labels.ndim != 3 or labels.is_floating_point() or not bool((labels > 0).any()):
        raise DataError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected (N, H, W) with parts 1..K")
    return labels.clone() if strength == 0 else DAMAGES[damage](labels, strength, seed)
