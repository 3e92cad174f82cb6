"""Colour spaces as batched tensor operations, so that they run where the images are."""

from functools import lru_cache

import torch
from torch import Tensor

# Linear sRGB -> CIE XYZ (IEC 61966-2-1) and the D65 white of the 2 degree observer; the same numbers as scikit-image.
_XYZ_FROM_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
_LUMA = (0.299, 0.587, 0.114)


@lru_cache(maxsize=32)
def _constant(values: tuple, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor kept on its device: copying it there at every step would make the program wait for a GPU."""
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training later
        return torch.tensor(values, device=device, dtype=dtype)


def rgb_to_lab(images: Tensor) -> Tensor:
    """CIE Lab of sRGB images.

    Parameters
    ----------
    images : (B, 3, H, W) in [0, 1].

    Returns
    -------
    (B, 3, H, W): L in [0, 100], a and b roughly in [-110, 110].
    """
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055).clamp_min(0) ** 2.4, images / 12.92)
    matrix = _constant(_XYZ_FROM_RGB, images.device, images.dtype)
    white = _constant(_WHITE, images.device, images.dtype)
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / white.view(1, 3, 1, 1)  # (B, 3, H, W)
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-8) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)  # (B, 3, H, W)


def grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB images (B, 3, H, W), ITU-R 601 weights."""
    weights = _constant(_LUMA, images.device, images.dtype).view(1, 3, 1, 1)  # (1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of RGB images (B, 3, H, W) in [0, 1] by ``turns`` (B,) full turns, in HSV space.

    In HSV a colour is its largest channel (value), the spread between largest and smallest (chroma) and the place on
    the colour wheel (hue). Each output channel is a fixed trapezoid of the hue, shifted by a third of a turn.
    """
    value, _ = images.max(dim=1)  # (B, H, W)
    chroma = value - images.min(dim=1).values  # (B, H, W)
    red, green, blue = images.unbind(dim=1)
    safe = chroma.clamp_min(1e-8)
    hue = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )  # in sixths of a turn
    hue = hue + 6 * turns.view(-1, 1, 1)
    channels = []
    for offset in (5, 3, 1):
        k = (offset + hue) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)  # (B, 3, H, W)
