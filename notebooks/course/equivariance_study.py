"""Equivariance looked at from outside: both ways around the square, and divisions that are equivariant for nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from partlib import warps
from partlib.errors import ConfigError
from partlib.losses import equivariance_loss

Network = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> part logits (B, K, H, W)
CONFIDENT = 12.0  # a logit that makes a probability of nearly 1


@dataclass(frozen=True)
class TwoWays:
    """Divide and warp, or warp and divide.

    Attributes
    ----------
    warped_images, foreground : (B, 3, H, W) and (B, 1, H, W), the images and their masks, warped.
    divided_first, warped_first : (B, K, H, W) logits of the two ways.
    """

    warped_images: Tensor
    foreground: Tensor
    divided_first: Tensor
    warped_first: Tensor

    def labels(self) -> tuple[Tensor, Tensor]:
        """Parts (B, H, W) of the two ways, 0 off the warped foreground."""
        inside = (self.foreground[:, 0] > 0.5).long()  # (B, H, W)
        return (self.divided_first.argmax(1) + 1) * inside, (self.warped_first.argmax(1) + 1) * inside

    def divergence(self) -> Tensor:
        """KL of the two ways at every pixel, (B, H, W) in nats, 0 off the warped foreground."""
        target, found = self.divided_first.log_softmax(1), self.warped_first.log_softmax(1)
        return (target.exp() * (target - found)).sum(1) * self.foreground[:, 0]

    def loss(self) -> float:
        """The equivariance loss, nats per pixel of the warped foreground."""
        return float(equivariance_loss(self.warped_first, self.divided_first, self.foreground))

    def agreement(self) -> float:
        """Fraction of the warped foreground where both ways give the same part."""
        first, second = self.labels()
        return float((first == second)[first > 0].float().mean())


@torch.no_grad()
def two_ways(network: Network, images: Tensor, foreground: Tensor, points: Tensor) -> TwoWays:
    """Go both ways around the square image -> parts -> warp.

    Parameters
    ----------
    network : images -> logits.
    images, foreground : (B, 3, H, W) and (B, 1, H, W).
    points : (B, 25, 2) source points of the warps (:mod:`partlib.warps`).
    """
    if len(points) != len(images):
        raise ConfigError(f"{len(points)} warps for {len(images)} images; expected one per image")
    grid = warps.thin_plate_grid(points.to(images), (images.shape[-2], images.shape[-1]))
    warped = warps.warp(images, grid)
    return TwoWays(warped, warps.warp(foreground, grid), warps.warp(network(images), grid), network(warped))


def uniform(images: Tensor, num_parts: int = 4) -> Tensor:
    """Undecided everywhere: equal logits (B, K, H, W)."""
    return images.new_zeros(len(images), num_parts, *images.shape[-2:])


def one_part(images: Tensor, num_parts: int = 4) -> Tensor:
    """Part 1 everywhere, for sure."""
    logits = uniform(images, num_parts)
    logits[:, 0] = CONFIDENT
    return logits


def stripes(images: Tensor, num_parts: int = 4) -> Tensor:
    """Parts that stay where they are in the picture: vertical stripes, whatever it shows."""
    width = images.shape[-1]
    column = torch.arange(width, device=images.device) * num_parts // width  # (W,)
    inside = column == torch.arange(num_parts, device=images.device)[:, None]  # (K, W)
    return CONFIDENT * inside.to(images)[None, :, None].expand(len(images), -1, images.shape[-2], -1)


def shades(images: Tensor, num_parts: int = 4) -> Tensor:
    """Parts by brightness: each pixel for itself, from dark to light."""
    level = images.mean(1, keepdim=True) * num_parts  # (B, 1, H, W)
    middle = torch.arange(num_parts, device=images.device).view(1, -1, 1, 1) + 0.5
    # not the square: up to a term that all parts share it is linear, and linear maps commute with interpolation
    return -CONFIDENT * (level - middle).abs()


def confidence(logits: Tensor, foreground: Tensor) -> float:
    """Mean probability of the likeliest part over the foreground: 1/K undecided, 1 sure."""
    top = logits.softmax(1).amax(1, keepdim=True)  # (B, 1, H, W)
    return float((top * foreground).sum() / foreground.sum())
