"""Colour jitter, batched, with its own parameters for every image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from partlib.color import grey, shift_hue
from partlib.distributed import own_share


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast, saturation and hue, then sometimes grey (paper, appendix; the values are its own).

    Attributes
    ----------
    probability : chance that an image is jittered at all.
    brightness, contrast, saturation : factors are drawn from [1 - v, 1 + v].
    hue : shift drawn from [-v, v] full turns.
    grey_probability : chance that an image loses its colour.
    """

    probability: float = 0.8
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.2
    hue: float = 0.2
    grey_probability: float = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Jittered copies of images (B, 3, H, W) in [0, 1], same shape and range.

        ``generator`` lives on the CPU whatever the device, so that a seed means the same images everywhere.
        """
        batch = len(images)
        draws = own_share(lambda total: torch.rand(6, total, generator=generator), batch, dim=1)  # (6, B)
        draws = draws.to(images.device, non_blocking=True)

        def factor(row: int, spread: float) -> Tensor:
            return (1 + (2 * draws[row] - 1) * spread).view(-1, 1, 1, 1)  # (B, 1, 1, 1)

        out = (images * factor(0, self.brightness)).clamp(0, 1)
        mean = grey(out).mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        out = (mean + (out - mean) * factor(1, self.contrast)).clamp(0, 1)
        luma = grey(out)  # (B, 1, H, W)
        out = (luma + (out - luma) * factor(2, self.saturation)).clamp(0, 1)
        out = shift_hue(out, (2 * draws[3] - 1) * self.hue)
        out = torch.where((draws[4] < self.probability).view(-1, 1, 1, 1), out, images)
        return torch.where((draws[5] < self.grey_probability).view(-1, 1, 1, 1), grey(out).expand_as(out), out)
