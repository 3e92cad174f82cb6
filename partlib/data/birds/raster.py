"""Drawing with signed distances: smooth shapes, anti-aliased colors and exact part labels from one formula.

Every shape is made of capsules, thick lines from ``a`` (radius ``ra``) to ``b`` (radius ``rb``): beaks, feathers, toes,
twigs. Coordinates are in units of the image side, x to the right, y down, so that a scene is the same at every size.
A label comes from comparing float32 numbers made by + - * / and sqrt alone, of which IEEE 754 fixes every bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRID = 8192  # geometry is rounded to 1 / GRID of the image side
Limb = tuple[float, ...]  # a capsule: ax, ay, ra, bx, by, rb
Array = np.ndarray


def rgb(text: str) -> Array:
    """Color "#rrggbb" as (3,) float64 in [0, 1]."""
    return np.array([*bytes.fromhex(text[1:])]) / 255


def ink(color: str | Sequence[float] | Array) -> Array:
    """A color, "#rrggbb" or three numbers, as (3, 1, 1) float32, ready to be mixed with pictures (3, h, w)."""
    return np.array(rgb(color) if isinstance(color, str) else color, np.float32).reshape(3, 1, 1)  # (3, 1, 1)


def on_grid(value: float) -> float:
    """``value`` rounded to the grid. Call it on whatever came from a sine, a cosine or a tangent."""
    return round(value * GRID) / GRID


def grid_limb(a: complex, ra: float, b: complex, rb: float) -> Limb:
    """A capsule from a to b, x + iy, rounded to the grid."""
    return tuple(map(on_grid, (a.real, a.imag, ra, b.real, b.imag, rb)))


def clamp(values: Array) -> Array:
    """``values`` limited to [0, 1]; for small arrays several times as fast as ``np.clip``."""
    return np.minimum(np.maximum(values, 0), 1)


@dataclass
class Canvas:
    """A picture and its part labels, or a window of them. Distances to shapes are signed, negative inside."""

    size: int  # pixels per image side, also in a window
    rgb: Array  # (3, h, w) float32 in [0, 1]
    parts: Array  # (h, w) uint8, 0 is background
    x: Array  # (1, w) float32, the pixels' centers
    y: Array  # (h, 1)

    def window(self, limbs: list[Limb], margin: float = 0.0) -> "Canvas":
        """The part of a whole picture, possibly empty, that ``limbs``, each grown by ``margin``, can touch; a view."""
        grow = margin + 1.0 / self.size  # a pixel more for the anti-aliased rim
        spans = []
        for axis in (1, 0):  # rows, columns
            low = min([min(limb[axis] - limb[2], limb[axis + 3] - limb[5]) for limb in limbs]) - grow
            high = max([max(limb[axis] + limb[2], limb[axis + 3] + limb[5]) for limb in limbs]) + grow
            start = max(int(low * self.size), 0)
            spans.append(slice(start, max(min(int(high * self.size) + 1, self.size), start)))
        rows, cols = spans
        return Canvas(self.size, self.rgb[:, rows, cols], self.parts[rows, cols], self.x[:, cols], self.y[rows])

    def capsule(self, limb: Limb) -> tuple[Array, Array]:
        """Distance (h, w) to a capsule, and how far along its axis, 0 to 1, each pixel lies."""
        ax, ay, ra, bx, by, rb = limb
        dx, dy = bx - ax, by - ay
        inverse = 1.0 / max(dx * dx + dy * dy, 1e-9)
        px, py = self.x - ax, self.y - ay  # (1, w), (h, 1)
        along = clamp(px * (dx * inverse) + py * (dy * inverse))  # (h, w)
        qx, qy = px - along * dx, py - along * dy
        return np.sqrt(qx * qx + qy * qy) - (along * (rb - ra) + ra), along

    def union(self, limbs: list[Limb], radius: float = 1.0) -> Array:
        """Distance (h, w) to several capsules, whose seams have fillets of about ``radius``."""
        distance = self.capsule(limbs[0])[0]
        for limb in limbs[1:]:
            distance = smooth_union(distance, self.capsule(limb)[0], radius)
        return distance

    def across(self, limb: Limb) -> Array:
        """Distance (h, w) to the axis of a capsule; positive to the left of a -> b as seen in the picture."""
        ax, ay, _, bx, by, _ = limb
        dx, dy = bx - ax, by - ay
        inverse = 1.0 / max(math.sqrt(dx * dx + dy * dy), 1e-5)
        return (self.x - ax) * (dy * inverse) - (self.y - ay) * (dx * inverse)

    def frame(self, points: dict[str, complex], name: str) -> list[Array]:
        """Coordinates (h, w) from the point ``name``; its unit vectors, at right angles, end in ``name_x``, ``_y``."""
        origin = points[name]
        units = [points[f"{name}_x"] - origin, points[f"{name}_y"] - origin]
        units = [unit / max(unit.real * unit.real + unit.imag * unit.imag, 1e-9) for unit in units]
        return [(self.x - origin.real) * unit.real + (self.y - origin.imag) * unit.imag for unit in units]

    def paint(
        self, distance: Array, color: Array, part: int | None = None, soft: float = 0, opacity: Array | float = 1
    ) -> None:
        """Lay ``color`` (3, h, w) over the picture where ``distance < 0``; they get the label ``part``, if any."""
        # Each pixel is covered by the fraction of it that lies inside; ``soft`` blurs the rim.
        coverage = clamp(0.5 - distance * (1.0 / max(soft, 1.0 / self.size)))
        self.rgb += coverage * opacity * (color - self.rgb)
        if part is not None:
            self.parts[distance < 0] = part


def smooth_union(a: Array, b: Array, radius: float) -> Array:
    """Union of two signed distances whose seam is filled with a fillet of about ``radius`` (polynomial minimum)."""
    overlap = np.maximum(radius - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap * overlap * (0.25 / radius)


def bulge_normals(distance: Array, pixels: float, thickness: float) -> tuple[Array, ...]:
    """Surface normals (x, y, z), each (h, w), of a shape blown up like a cushion of half-width ``thickness``."""
    gx, gy = np.zeros_like(distance), np.zeros_like(distance)  # the gradient points out of the outline
    gx[:, 1:-1] = (distance[:, 2:] - distance[:, :-2]) * (0.5 * pixels)
    gy[1:-1] = (distance[2:] - distance[:-2]) * (0.5 * pixels)
    slope = clamp(distance * (1.0 / thickness) + 1)  # 1 on the outline, 0 deep inside
    return gx * slope, gy * slope, np.sqrt(np.maximum(1 - slope * slope, 0))
