"""Moments of upsampled features under part maps, without upsampling the features (what sections 3.1 to 3.3 sum over).

Bilinear upsampling is a matrix, z_high = U z. It is separable, U = Uy (x) Ux, and every row of Uy and Ux holds two
non-zero weights at most. Two sums over all pixels u are enough for the losses, and both can be had at low resolution:

* a first moment, sum_u m(u) (Uz)(u) = sum_v (U^T m)(v) z(v): upsample nothing, push the *map* down with U^T;
* a squared norm, |(Uz)(u)|^2: a quadratic form in the four cells around u, so the scalar products of neighbouring
  cells are all it needs. Those have one channel, whatever the number of channels of z.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

CHANNEL_BLOCK = 64  # channels multiplied at a time


@lru_cache(maxsize=64)
def interpolation_matrix(high: int, low: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """One axis of bilinear upsampling with ``align_corners=True`` as a dense matrix, (high, low), cached.

    Row y holds the weights of output y on the inputs; rows sum to one. The positions are exact rationals, so a
    weight that should be zero is zero.
    """
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training later
        steps = max(high - 1, 1)
        position = torch.arange(high) * (low - 1) if high > 1 else torch.zeros(1, dtype=torch.long)
        lower = position // steps
        fraction = (position % steps).double() / steps
        rows = torch.arange(high)
        matrix = torch.zeros(high, low, dtype=torch.float64)
        matrix[rows, lower] = 1 - fraction
        # Where lower is the last cell the fraction is zero and there is no upper cell to add to.
        matrix[rows, (lower + 1).clamp(max=low - 1)] += fraction
        return matrix.to(device, dtype)


@lru_cache(maxsize=64)
def _product_matrix(high: int, low: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Products of the weights of one axis, (high, 2 low - 1): w_i^2 for every cell, then w_i w_{i+1} for neighbours."""
    with torch.inference_mode(False):
        weights = interpolation_matrix(high, low, torch.device("cpu"), torch.float64)
        products = torch.cat([weights**2, weights[:, :-1] * weights[:, 1:]], dim=1)
        return products.to(device, dtype)


def downsample_adjoint(maps: Tensor, size: Sequence[int]) -> Tensor:
    """U^T, the transpose of bilinear upsampling, applied to every map: (B, N, H, W) -> (B, N, h, w); keeps the sum."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    rows = interpolation_matrix(maps.shape[-2], size[0], maps.device, maps.dtype)  # (H, h)
    columns = interpolation_matrix(maps.shape[-1], size[1], maps.device, maps.dtype)  # (W, w)
    return rows.T @ (maps @ columns)  # (B, N, H, w) -> (B, N, h, w)


def first_moments(weights: Tensor, features: Tensor) -> Tensor:
    """sum_u weights_n(u) (U features)(u), (B, N, C), of weights (B, N, H, W) and features (B, C, h, w)."""
    low = downsample_adjoint(weights, features.shape[-2:])  # (B, N, h, w)
    return low.flatten(2) @ features.flatten(2).transpose(1, 2)  # (B, N, hw) @ (B, hw, C)


def upsampled_square_norm(features: Tensor, size: Sequence[int]) -> Tensor:
    """|(U features)(u)|^2 at every pixel u, (B, H, W), of features (B, C, h, w) upsampled to ``size`` (H, W).

    With weights a_i, a_{i+1} of a pixel on two rows and b_j, b_{j+1} on two columns, the square of
    sum_ij a_i b_j z_ij has terms a_i^2 b_j^2 |z_ij|^2, a_i^2 b_j b_{j+1} z_ij . z_i,j+1 and so on: products of weights
    (which separate into rows and columns) times scalar products of cells at most one apart.
    """
    if tuple(features.shape[-2:]) == tuple(size):
        return _dot(features, features)
    top, bottom = features[:, :, :-1], features[:, :, 1:]  # (B, C, h-1, w)
    same = _dot(features, features)  # (B, h, w)
    right = _dot(features[..., :-1], features[..., 1:])  # (B, h, w-1)
    down = _dot(top, bottom)  # (B, h-1, w)
    # Both diagonals of a 2x2 block carry the weight a_i a_{i+1} b_j b_{j+1}.
    diagonals = _dot(top[..., :-1], bottom[..., 1:]) + _dot(top[..., 1:], bottom[..., :-1])  # (B, h-1, w-1)
    upper = torch.cat([same, 2 * right], dim=2)  # (B, h, 2w-1)
    lower = torch.cat([2 * down, 2 * diagonals], dim=2)  # (B, h-1, 2w-1)
    products = torch.cat([upper, lower], dim=1)  # (B, 2h-1, 2w-1)
    rows = _product_matrix(size[0], features.shape[-2], features.device, features.dtype)  # (H, 2h-1)
    columns = _product_matrix(size[1], features.shape[-1], features.device, features.dtype)  # (W, 2w-1)
    return rows @ (products @ columns.T)  # (B, 2h-1, W) -> (B, H, W)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product over the channels of two maps (B, C, h, w) -> (B, h, w)."""
    # Block by block, so that the products take little memory and stay in the processor's cache.
    blocks = zip(a.split(CHANNEL_BLOCK, dim=1), b.split(CHANNEL_BLOCK, dim=1), strict=True)
    return torch.stack([(x * y).sum(dim=1) for x, y in blocks]).sum(dim=0)
