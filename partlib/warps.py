"""Smooth random deformations for the equivariance loss: thin-plate splines on a 5x5 lattice (paper, section 3.4).

A warp is a sampling grid: for every output pixel the place (x, y) it is read from, in normalized coordinates where -1
and 1 are the *centers* of the first and last pixel (``align_corners=True``). The spline says where the lattice points
are read from, ``source_points``, and interpolates as smoothly as possible in between (Bookstein 1989).
It is linear in the source points, grid = M source_points, and M depends on the size alone: a step costs one product.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

LATTICE = 5  # control points per side
NUM_POINTS = LATTICE * LATTICE


def identity_points(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
    """The lattice itself, (25, 2) as (x, y) in [-1, 1], x slow: (-1, -1), (-1, -.5) ... Its warp is the identity."""
    axis = torch.linspace(-1, 1, LATTICE, device=device, dtype=dtype)
    return torch.cartesian_prod(axis, axis)  # (25, 2)


def random_points(
    batch: int,
    generator: torch.Generator | None = None,
    *,
    jitter: float = 0.01,
    scale: tuple[float, float] = (0.5, 1.4286),
    angle: float = 60.0,
    translate: float = 0.1,
) -> Tensor:
    """Random source points (batch, 25, 2): every lattice point jittered, then all moved by one similarity.

    Ranges are the release's: jitter and translation in normalized units (the image is 2 wide), the angle in degrees.
    They are those of the *sampling grid*: scale 0.5 reads half the image, which magnifies it twice. Draws are made on
    the CPU, so that a seed means the same on every device.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    points = identity_points() + uniform(-jitter, jitter, NUM_POINTS, 2)  # (batch, 25, 2)
    return similarity(points, uniform(*scale), uniform(-angle, angle), uniform(-translate, translate, 2))


def similarity(points: Tensor, scale: Tensor, angle: Tensor, translate: Tensor) -> Tensor:
    """x' = s (cos a x - sin a y) + t_x,  y' = s (sin a x + cos a y) + t_y.

    ``points`` (B, N, 2) as (x, y), ``scale`` and ``angle`` (B,) in degrees, ``translate`` (B, 2); returns (B, N, 2).
    """
    radians = angle * (math.pi / 180)
    cos, sin = scale * radians.cos(), scale * radians.sin()  # (B,)
    matrix = torch.stack([cos, -sin, sin, cos], dim=-1).view(-1, 2, 2)  # (B, 4) -> (B, 2, 2)
    return points @ matrix.transpose(1, 2) + translate[:, None]  # (B, N, 2)


def thin_plate_grid(source_points: Tensor, size: tuple[int, int]) -> Tensor:
    """Sampling grid (B, H, W, 2) of the thin-plate spline that reads lattice point i from ``source_points[:, i]``.

    ``source_points`` is (B, 25, 2) as (x, y) in normalized coordinates, in the order of :func:`identity_points`,
    ``size`` is (H, W) in pixels. Differentiable in the points.
    """
    height, width = size
    matrix = _thin_plate_matrix(int(height), int(width), source_points.device, source_points.dtype)  # (HW, 25)
    coordinates = source_points.transpose(1, 2).flatten(0, 1) @ matrix.T  # (B, 2, 25) -> (2B, 25) @ (25, HW)
    return coordinates.view(-1, 2, height, width).permute(0, 2, 3, 1)  # (2B, HW) -> (B, 2, H, W) -> (B, H, W, 2)


@lru_cache(maxsize=16)
def _thin_plate_matrix(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """M with grid = M source_points, (H W, 25), cached per size, device and type.

    The spline is sum_i w_i U(|p - c_i|) + a_0 + a_1 x + a_2 y. Its coefficients solve the symmetric system
    [[U_cc, P], [P^T, 0]] [w; a] = [source; 0], so M is the basis at all pixels times the first 25 columns of the
    inverse.
    """
    with torch.inference_mode(False):  # a cached inference tensor could not be used in training later
        centers = identity_points(dtype=torch.float64)  # (25, 2)
        polynomial = torch.cat([torch.ones(NUM_POINTS, 1, dtype=torch.float64), centers], dim=1)  # (25, 3)
        system = torch.zeros(NUM_POINTS + 3, NUM_POINTS + 3, dtype=torch.float64)
        system[:NUM_POINTS, :NUM_POINTS] = _kernel(centers, centers)
        system[:NUM_POINTS, NUM_POINTS:] = polynomial
        system[NUM_POINTS:, :NUM_POINTS] = polynomial.T
        axes = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (height, width))
        pixels = torch.cartesian_prod(*axes).flip(1)  # (H W, 2) as (x, y), rows of the image first
        basis = torch.cat([_kernel(pixels, centers), torch.ones_like(pixels[:, :1]), pixels], dim=1)  # (H W, 28)
        return (basis @ torch.linalg.inv(system)[:, :NUM_POINTS]).to(device, dtype)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """U(r) = r^2 log r for all distances r between points a (N, 2) and b (M, 2), (N, M); U(0) = 0."""
    squared = (a[:, None] - b).square().sum(dim=-1)  # (N, M)
    return torch.special.xlogy(squared, squared) / 2  # r^2 log r = r^2 log(r^2) / 2


def warp(image: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros") -> Tensor:
    """Read float maps (B, C, h, w) at the places of ``grid`` (B, H, W, 2): (B, C, H, W); 0 outside of the image."""
    return F.grid_sample(image, grid.to(image.dtype), mode=mode, padding_mode=padding_mode, align_corners=True)
