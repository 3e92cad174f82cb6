"""Leaves, twigs, branches and grass, behind the bird or in front of it."""

import math

import numpy as np

from partlib.data.birds.light import Light
from partlib.data.birds.raster import (
    Canvas,
    Color,
    Limb,
    across,
    capsule,
    capsule_frame,
    clamp,
    grid_limb,
    ink,
    on_grid,
)
from partlib.data.birds.textures import lookup


class Plants:
    """Draws plants of one kind onto a canvas.

    With ``front=True`` a plant takes its pixels away from the bird; its geometry is then rounded to the grid like the
    bird's own. ``soft`` blurs the rim, for plants out of focus (units of the image side).
    """

    def __init__(
        self, canvas: Canvas, rng: np.random.Generator, light: Light, leaf_colors: list[Color], bark: Color
    ) -> None:
        self.canvas, self.rng, self.light = canvas, rng, light
        self.leaf_colors, self.bark = leaf_colors, bark

    def leaf(self, at: tuple[float, float], size: float, soft: float, strength: float, front: bool = False) -> None:
        """A pointed leaf: where two discs overlap. In front of the bird it takes the bird's pixels."""
        angle, grow, tone, pick, fold = self.rng.uniform(0, 1, 5).tolist()
        length, turn = size * (0.7 + 1.2 * grow), 6.2832 * angle
        ux, uy = on_grid(math.cos(turn)), on_grid(math.sin(turn))
        x, y, length = on_grid(at[0]), on_grid(at[1]), on_grid(length)
        window = self.canvas.window([(x, y, length, x, y, length)], soft)
        if window is None:
            return
        px, py = window.x - x, window.y - y
        along, side = px * ux + py * uy, px * uy - py * ux
        bow, radius = 0.95 * length, 1.38 * length  # half the leaf's width is radius - bow
        squared = along * along
        distance = np.maximum(
            np.sqrt(squared + (side - bow) * (side - bow)), np.sqrt(squared + (side + bow) * (side + bow))
        )
        distance = distance - radius
        color = ink(self.leaf_colors[int(pick * len(self.leaf_colors))])
        half = np.where(side > 0, 1.12, 0.82 + 0.2 * fold)
        vein = 1 + 0.35 * clamp(1 - np.abs(side) * (14 / length))
        ribs = 0.95 + 0.1 * (np.abs(((along + np.abs(side)) * (4 / length)) % 1 - 0.5) > 0.3)
        shade = half * vein * ribs * (0.65 + 0.6 * tone)
        if front:
            window.darken(clamp(0.6 - distance * (1 / (0.25 * length))) * 0.3)
        window.paint(window.coverage(distance, soft) * strength, color * shade * self.light.flat(0.8))
        if front:
            window.label(distance < 0, 0)

    def branch(self, limb: Limb, soft: float = 0.0, front: bool = False) -> None:
        """A piece of wood with bark, lit from above."""
        window = self.canvas.window([limb], soft)
        if window is None:
            return
        distance, along = capsule_frame(window, limb)
        side = across(window, limb) * (1 / max(limb[2], 1e-3))
        length = math.hypot(limb[3] - limb[0], limb[4] - limb[1])
        bark = lookup("bark", along * (length * 1.2) + limb[1], side * 0.1 + limb[0])
        upward = side * (1.0 if limb[3] < limb[0] else -1.0)  # across() is positive to the left of a -> b
        shade = np.clip(0.78 - 0.42 * upward, 0.3, 1.25) * (0.7 + 0.6 * bark)
        color = ink(self.bark) * self.light.flat(0.8)
        window.paint(window.coverage(distance, soft), color * shade)
        if front:
            window.label(distance < 0, 0)

    def twig(self, soft: float = 0.0, front: bool = False, leaves: int = 0) -> None:
        """A thin branch across the picture, with up to ``leaves`` leaves on it."""
        x, y, angle, length, radius = self.rng.uniform(0, 1, 5).tolist()
        turn, length = 6.2832 * angle, 0.5 + 0.8 * length
        dx, dy = math.cos(turn) * length / 2, math.sin(turn) * length / 2
        self.branch(grid_limb(x - dx, y - dy, 0.005 + 0.009 * radius, x + dx, y + dy, 0.004), soft, front)
        for i in range(leaves):
            k = (i + 0.5) / leaves * 2 - 1
            aside = 0.02 * (-1) ** i  # leaves alternate
            self.leaf((x + k * dx + aside * dy, y + k * dy - aside * dx), 0.032, soft, 1.0, front)

    def side_twig(self, x: float, y: float, tilt: float, radius: float) -> None:
        """A twig that leaves the perch, with leaves at its end."""
        t, rise, reach, count = self.rng.uniform(0, 1, 4).tolist()
        along = 0.9 * t - 0.45
        sx, sy = x + along, y + tilt * along
        ex, ey = sx + (0.25 * reach + 0.05) * (1 if along > 0 else -1), sy + 0.4 * (rise - 0.6)
        self.branch((sx, sy, radius * 0.45, ex, ey, radius * 0.2))
        for i in range(int(count * 5)):
            k = 0.4 + 0.15 * i
            self.leaf((sx + k * (ex - sx), sy + k * (ey - sy)), 0.035, 0.0, 1.0)

    def grass(self, ground: float, count: int) -> None:
        """Blades of grass before everything that stands at height ``ground``."""
        draws = self.rng.uniform(0, 1, (count, 5)).tolist()
        color = ink(self.leaf_colors[0]) * self.light.flat(0.8)
        for x, y, lean, height, tone in draws:
            foot = ground + 0.03 + 0.16 * y
            top = foot - 0.05 - 0.10 * height
            left = 1.1 * x - 0.05
            limb = grid_limb(left, foot, 0.005, left + 0.12 * (lean - 0.5), top, 0.0012)
            window = self.canvas.window([limb])
            if window is not None:
                distance = capsule(window, limb)
                window.paint(window.coverage(distance), color * (0.6 + 0.8 * tone))
                window.label(distance < 0, 0)
