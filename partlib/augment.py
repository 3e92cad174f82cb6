"""Color: the jitter that makes two views of an image, and the color space of the visual loss.

Everything is batched and runs where the images are (paper, appendix; the ranges of the jitter are its own).
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

# Linear sRGB -> CIE XYZ (IEC 61966-2-1) and the D65 white of the 2 degree observer; the same numbers as scikit-image.
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class ColorJitter:
    """Random brightness, contrast, saturation and hue of every image, then sometimes gray."""

    probability: float = 0.8  # that an image is jittered at all
    brightness: float = 0.3  # this and the next two are factors from [1 - v, 1 + v]
    contrast: float = 0.3
    saturation: float = 0.2
    hue: float = 0.2  # shifted by [-v, v] full turns
    gray_probability: float = 0.2  # that an image loses its color

    @staticmethod
    def draw(batch: int, generator: Generator | None = None) -> Tensor:
        """Random numbers (6, batch) in [0, 1), on the CPU, so that a seed means the same images on every device."""
        return torch.rand(6, batch, generator=generator)

    def __call__(self, images: Tensor, generator: Generator | None = None, *, draws: Tensor | None = None) -> Tensor:
        """Jittered copies of images (B, 3, H, W) in [0, 1], same range; ``draws`` (6, B) instead of fresh ones."""
        draws = self.draw(len(images), generator) if draws is None else draws
        draws = draws.to(images.device, non_blocking=True)

        def factor(row: int, spread: float) -> Tensor:
            return (1 + (2 * draws[row] - 1) * spread).view(-1, 1, 1, 1)  # (B, 1, 1, 1)

        out = (images * factor(0, self.brightness)).clamp(0, 1)
        mean = gray(out).mean(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
        out = (mean + (out - mean) * factor(1, self.contrast)).clamp(0, 1)
        luma = gray(out)  # (B, 1, H, W)
        out = (luma + (out - luma) * factor(2, self.saturation)).clamp(0, 1)
        out = shift_hue(out, (2 * draws[3] - 1) * self.hue)
        out = torch.where((draws[4] < self.probability).view(-1, 1, 1, 1), out, images)
        return torch.where((draws[5] < self.gray_probability).view(-1, 1, 1, 1), gray(out).expand_as(out), out)


@lru_cache(maxsize=32)
def _constant(values: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor kept on its device: copying it there at every step would make the program wait for a GPU."""
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training later
        return torch.tensor(values, device=device, dtype=dtype)


def rgb_to_lab(images: Tensor) -> Tensor:
    """CIE Lab (B, 3, H, W) of sRGB images (B, 3, H, W) in [0, 1]: L in [0, 100], a and b roughly in [-110, 110]."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055).clamp_min(0) ** 2.4, images / 12.92)
    matrix, white = (_constant(values, images.device, images.dtype) for values in (_XYZ_FROM_RGB, _WHITE))
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / white.view(1, 3, 1, 1)  # (B, 3, H, W)
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-8) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)  # (B, 3, H, W)


def gray(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB images (B, 3, H, W), ITU-R 601 weights."""
    weights = _constant(_LUMA, images.device, images.dtype).view(1, 3, 1, 1)  # (1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of RGB images (B, 3, H, W) in [0, 1] by ``turns`` (B,) full turns, in HSV space.

    Each output channel is a fixed trapezoid of the hue, shifted by a third of a turn.
    """
    value, _ = images.max(dim=1)  # (B, H, W)
    chroma = value - images.min(dim=1).values  # (B, H, W)
    red, green, blue = images.unbind(dim=1)
    safe = chroma.clamp_min(1e-8)
    below_red = torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4)
    hue = torch.where(value == red, (green - blue) / safe % 6, below_red)  # in sixths of a turn
    hue = hue + 6 * turns.view(-1, 1, 1)
    places = [(offset + hue) % 6 for offset in (5, 3, 1)]  # (B, H, W) each
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in places], dim=1)  # (B, 3, H, W)
