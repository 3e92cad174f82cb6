"""Everything that is not the bird: the light, what lies behind it, what it stands on, and what hangs in front of it."""

import math
from dataclasses import dataclass

import numpy as np

from partlib.data.birds.anatomy import PlacedFigure
from partlib.data.birds.raster import (
    Canvas,
    Color,
    Limb,
    Point,
    Window,
    across,
    capsule,
    capsule_frame,
    clamp,
    grid_limb,
    ink,
    on_grid,
)
from partlib.data.birds.species import rgb
from partlib.data.birds.textures import lookup

# dark, middle and light tone of what is out of focus behind the bird; color of water under it
BACKDROPS: dict[str, tuple[str, str, str, str]] = {
    "foliage": ("#1c2a14", "#4d6b2c", "#b4c474", "#46604c"),
    "olive": ("#2c2c18", "#6e6e3a", "#c8c290", "#5c6a58"),
    "autumn": ("#3c2414", "#96602a", "#e2b45c", "#5c6a58"),
    "shade": ("#101814", "#2c4034", "#7c948c", "#34484a"),
    "sky": ("#7ba4cc", "#a4c4e0", "#e8eef2", "#6c92b0"),
    "overcast": ("#a2a8ac", "#c2c6c8", "#e4e6e6", "#8c989c"),
    "dusk": ("#5c5870", "#b48c84", "#f0c49c", "#8c7c84"),
    "reeds": ("#4a4428", "#94864e", "#d4c890", "#5c7474"),
    "stone": ("#3c3a38", "#7c7670", "#b8b2a8", "#5c6a6c"),
    "blossom": ("#3a4a34", "#8c9a78", "#ecc8d4", "#6c8078"),
}
OPEN = ("sky", "overcast", "dusk", "stone")  # nothing grows in these
HABITATS: dict[str, tuple[str, ...]] = {  # and the backdrops that go with them
    "branch": ("foliage", "olive", "autumn", "shade", "sky", "overcast", "dusk", "blossom"),
    "trunk": ("foliage", "olive", "autumn", "shade", "overcast", "sky"),
    "ground": ("foliage", "olive", "reeds", "stone", "sky", "autumn", "overcast"),
    "water": ("reeds", "foliage", "shade", "sky", "overcast"),
    "wade": ("reeds", "foliage", "shade", "dusk", "overcast"),
}
# texture, color, its scale across and up (the ground is seen at a low angle), height of the blades on the horizon
GROUNDS = (
    ("grass", "#7c8c40", 0.75, 0.8, 0.10),
    ("grass", "#a0905c", 0.75, 0.8, 0.10),
    ("pebbles", "#a08c6c", 0.7, 1.9, 0.0),
    ("pebbles", "#a8a094", 0.7, 1.9, 0.0),
)
GREEN = ("#4c7426", "#6c9434", "#35581e", "#8cac48")
LEAVES: dict[str, tuple[str, ...]] = {  # by backdrop; elsewhere they are green
    "olive": ("#6c702c", "#8c8a44", "#545a26"),
    "autumn": ("#b4641c", "#d49a2c", "#8c3c1a", "#a88434"),
    "shade": ("#1e3c22", "#2c5230", "#3c6238"),
    "blossom": ("#e8b8c8", "#f4dce2", "#6c8c44"),
}
BARKS = ("#5c4a3a", "#746456", "#4a4440", "#8a7c6c", "#6a5238")


@dataclass(frozen=True)
class Light:
    """Directional sun and diffuse sky.

    ``direction`` is the unit vector towards the sun (x right, y down, z at the viewer); ``sun`` and ``sky`` are
    colors, together about 1 on a surface that faces the sun. ``dapple`` in [0, 1] is the strength of patchy shade.
    """

    direction: tuple[float, float, float]
    sun: Color
    sky: Color
    dapple: float
    dapple_offset: tuple[float, float]

    def shade(self, normals: tuple[np.ndarray, ...]) -> np.ndarray:
        """Brightness (3, h, w) of a white surface with these normals (x, y, z), each (h, w)."""
        nx, ny, nz = normals
        lx, ly, lz = self.direction
        lit = np.maximum(nx * lx + ny * ly + nz * lz, 0)
        return lit * ink(self.sun) + (0.74 - 0.26 * ny) * ink(self.sky)

    def flat(self, facing: float = 0.75) -> np.ndarray:
        """Brightness (3, 1, 1) of a surface that turns ``facing`` of 1 to the sun."""
        return facing * ink(self.sun) + 0.8 * ink(self.sky)

    def dapple_window(self, window: Window) -> None:
        """Multiply the picture by the shade of leaves."""
        ox, oy = self.dapple_offset
        shade = lookup("soft", window.x * 0.9 + ox, window.y * 0.9 + oy)
        window.darken(clamp((shade - 0.42) * 3) * self.dapple)


def draw_light(rng: np.random.Generator) -> Light:
    """A random light; the sun stands left or right, high or low, white, golden or blue."""
    u = rng.uniform(0, 1, 8).tolist()
    x, y, z = 1.6 * u[0] - 0.8, -0.35 - 0.6 * u[1], 0.35 + 0.5 * u[2]
    norm = (x * x + y * y + z * z) ** 0.5
    strength, warm = 0.50 + 0.40 * u[3], 0.16 * (u[4] - 0.35)
    sun = (strength * (1 + warm), strength, strength * (1 - 1.3 * warm))
    glow = (1.18 - strength) * (0.85 + 0.25 * u[5])
    sky = (glow * (0.97 - 0.5 * warm), glow * 1.0, glow * (1.06 + 0.6 * warm))
    return Light((x / norm, y / norm, z / norm), sun, sky, max(0.0, 0.7 * u[6] - 0.35), (u[7], u[6]))


class Scenery:
    """Paints one scene around one placed bird. All draws come from ``rng``, in one fixed order.

    With ``front=True`` a plant takes its pixels away from the bird; its geometry is then rounded to the grid like the
    bird's own. ``soft`` blurs the rim, for plants out of focus (units of the image side).
    """

    def __init__(
        self,
        canvas: Canvas,
        rng: np.random.Generator,
        habitat: str,
        light: Light,
        figure: PlacedFigure,
        flying: bool,
    ) -> None:
        self.canvas, self.rng, self.habitat, self.light = canvas, rng, habitat, light
        self.points, self.scale, self.flying = figure.points, figure.scale, flying
        backdrops = HABITATS[habitat]
        self.backdrop = backdrops[int(rng.integers(len(backdrops)))]
        self.tones = [rgb(color) for color in BACKDROPS[self.backdrop]]
        self.leaf_colors = [rgb(color) for color in LEAVES.get(self.backdrop, GREEN)]
        self.bark = rgb(BARKS[int(rng.integers(len(BARKS)))])
        self.perch: list[Limb] = []
        self.ground = max(self.points["foot_near"][1], self.points["foot_far"][1])
        self.waterline = 2.0  # height of the water's edge in the picture; 2 is below it

    def _draw(self, count: int, low: float = 0.0, high: float = 1.0) -> list[float]:
        return self.rng.uniform(low, high, count).tolist()

    # -- behind --------------------------------------------------------------------------------------------------

    def behind(self) -> None:
        """Backdrop, bokeh, blurred and sharp leaves, then what the bird stands on."""
        self._backdrop()
        for _ in range(int(self.rng.integers(0, 7))):
            self._bokeh()
        for _ in range(int(self.rng.integers(0, 4))):
            x, y = self._draw(2, -0.05, 1.05)
            self._leaf((x, y), 0.07, 0.02, 0.7)
        for _ in range(int(self.rng.integers(0, 3))):
            self._twig(soft=0.008)
        if self.flying:
            return
        if self.habitat in ("ground", "water", "wade"):
            self._ground()
        elif self.habitat == "trunk":
            self._trunk()
        else:
            self._stand_on_branch()
        if self.habitat not in ("water", "wade"):
            for _ in range(int(self.rng.integers(0, 3))):
                self._twig(leaves=8)

    def _backdrop(self) -> None:
        """Light and dark out of focus: clouds, or a thicket that may be nearer and sharper."""
        window = self.canvas.whole()
        dark, middle, light = (ink(color) for color in self.tones[:3])
        ox, oy, stretch, slope, near = self._draw(5)
        size = 0.35 + 0.5 * stretch
        tone = lookup("soft", window.x * size + ox, window.y * size + oy)  # (H, W)
        tone = 0.15 + 0.9 * tone + (slope - 0.6) * (window.y - 0.5)
        if self.backdrop not in OPEN:
            name = "foliage" if near < 0.45 else "thicket"
            clutter = lookup(name, window.x * (0.4 + size) + oy, window.y * (0.4 + size) + ox)
            tone = tone * (0.35 + 1.0 * clutter) + 0.35 * (clutter - 0.3)
        color = dark + (middle - dark) * clamp(tone * 1.7)  # (3, H, W)
        color += (light - color) * (clamp(tone * 1.8 - 0.85) * 0.8)
        self.canvas.rgb[:] = color * self.light.flat(0.85)

    def _bokeh(self) -> None:
        """A highlight out of focus: a pale disc."""
        (x, y), (size, alpha) = self._draw(2, -0.05, 1.05), self._draw(2)
        radius = 0.02 + 0.05 * size
        disc = (x, y, radius, x, y, radius)
        window = self.canvas.window([disc], 0.02)
        window.paint(capsule(window, disc), ink(self.tones[2]), 0.015, 0.06 + 0.2 * alpha)

    # -- plants --------------------------------------------------------------------------------------------------

    def _leaf(self, at: Point, size: float, soft: float = 0.0, strength: float = 1.0, front: bool = False) -> None:
        """A pointed leaf: where two discs overlap."""
        angle, grow, tone, pick, fold = self._draw(5)
        length, turn = size * (0.7 + 1.2 * grow), 6.2832 * angle
        ux, uy = on_grid(math.cos(turn)), on_grid(math.sin(turn))
        x, y, length = on_grid(at[0]), on_grid(at[1]), on_grid(length)
        window = self.canvas.window([(x, y, length, x, y, length)], soft)
        px, py = window.x - x, window.y - y
        along, side = px * ux + py * uy, px * uy - py * ux
        bow, radius = 0.95 * length, 1.38 * length  # half the leaf's width is radius - bow
        left, right = side - bow, side + bow
        squared = along * along
        distance = np.maximum(np.sqrt(squared + left * left), np.sqrt(squared + right * right)) - radius
        color = ink(self.leaf_colors[int(pick * len(self.leaf_colors))])
        half = np.where(side > 0, 1.12, 0.82 + 0.2 * fold)
        vein = 1 + 0.35 * clamp(1 - np.abs(side) * (14 / length))
        ribs = 0.95 + 0.1 * (np.abs(((along + np.abs(side)) * (4 / length)) % 1 - 0.5) > 0.3)
        shade = half * vein * ribs * (0.65 + 0.6 * tone)
        if front:
            window.darken(clamp(0.6 - distance * (1 / (0.25 * length))) * 0.3)
            window.label(distance, 0)
        window.paint(distance, color * shade * self.light.flat(0.8), soft, strength)

    def _branch(self, limb: Limb, soft: float = 0.0, front: bool = False) -> None:
        """A piece of wood with bark, lit from above."""
        window = self.canvas.window([limb], soft)
        distance, along = capsule_frame(window, limb)
        side = across(window, limb) * (1 / max(limb[2], 1e-3))
        length = math.hypot(limb[3] - limb[0], limb[4] - limb[1])
        bark = lookup("bark", along * (length * 1.2) + limb[1], side * 0.1 + limb[0])
        upward = side * (1.0 if limb[3] < limb[0] else -1.0)  # across() is positive to the left of a -> b
        shade = np.clip(0.78 - 0.42 * upward, 0.3, 1.25) * (0.7 + 0.6 * bark)
        window.paint(distance, ink(self.bark) * self.light.flat(0.8) * shade, soft)
        if front:
            window.label(distance, 0)

    def _twig(self, soft: float = 0.0, front: bool = False, leaves: int = 0) -> None:
        """A thin branch across the picture, with up to ``leaves`` leaves on it."""
        x, y, angle, length, radius = self._draw(5)
        turn, length = 6.2832 * angle, 0.5 + 0.8 * length
        dx, dy = math.cos(turn) * length / 2, math.sin(turn) * length / 2
        self._branch(grid_limb(x - dx, y - dy, 0.005 + 0.009 * radius, x + dx, y + dy, 0.004), soft, front)
        for i in range(leaves):
            k = (i + 0.5) / leaves * 2 - 1
            aside = 0.02 * (-1) ** i  # leaves alternate
            self._leaf((x + k * dx + aside * dy, y + k * dy - aside * dx), 0.032, soft, front=front)

    def _side_twig(self, x: float, y: float, tilt: float, radius: float) -> None:
        """A twig that leaves the perch, with leaves at its end."""
        t, rise, reach, count = self._draw(4)
        along = 0.9 * t - 0.45
        sx, sy = x + along, y + tilt * along
        ex, ey = sx + (0.25 * reach + 0.05) * (1 if along > 0 else -1), sy + 0.4 * (rise - 0.6)
        self._branch((sx, sy, radius * 0.45, ex, ey, radius * 0.2))
        for i in range(int(count * 5)):
            k = 0.4 + 0.15 * i
            self._leaf((sx + k * (ex - sx), sy + k * (ey - sy)), 0.035)

    def _grass(self, count: int) -> None:
        """Blades of grass before everything that stands on the ground."""
        color = ink(self.leaf_colors[0]) * self.light.flat(0.8)
        for x, y, lean, height, tone in self.rng.uniform(0, 1, (count, 5)).tolist():
            foot, left = self.ground + 0.03 + 0.16 * y, 1.1 * x - 0.05
            top = foot - 0.05 - 0.10 * height
            limb = grid_limb(left, foot, 0.005, left + 0.12 * (lean - 0.5), top, 0.0012)
            window = self.canvas.window([limb])
            distance = capsule(window, limb)
            window.paint(distance, color * (0.6 + 0.8 * tone))
            window.label(distance, 0)

    # -- what the bird stands on ---------------------------------------------------------------------------------

    def _stand_on_branch(self) -> None:
        """A branch under both feet, some side twigs with leaves."""
        slope, thick, bend, left, right = self._draw(5)
        (ax, ay), (bx, by) = sorted((self.points["foot_near"], self.points["foot_far"]))
        tilt = math.tan(math.radians(50 * slope - 25)) * 0.6 + 0.25 * (by - ay) / max(bx - ax, 0.03)
        radius = 0.016 + 0.026 * thick
        mx, my = (ax + bx) / 2, (ay + by) / 2 + radius * 0.85
        start, stop = mx + 0.15 + left, mx + 0.15 + right * 0.9
        left_y, right_y = my - tilt * start + 0.05 * bend, my + tilt * stop + 0.08 * bend
        self.perch = [
            grid_limb(mx - start, left_y, radius * 1.3, mx, my, radius),
            grid_limb(mx, my, radius, mx + stop, right_y, radius * 0.6),
        ]
        for _ in range(int(self.rng.integers(0, 4))):
            self._side_twig(mx, my, tilt, radius)
        for limb in self.perch:
            self._branch(limb)

    def _trunk(self) -> None:
        """A trunk on the belly's side of an upright bird."""
        lean, thick = self._draw(2)
        names = ("foot_near", "foot_far", "belly", "body", "root", "chest")
        (nx, ny), (fx, fy), (bx, by), (cx, cy), (rx, ry), (tx, ty) = (self.points[name] for name in names)
        norm = max(math.hypot(rx - tx, ry - ty), 1e-3)
        px, py = (rx - tx) / norm, (ry - ty) / norm  # along the body
        ox, oy = (py, -px) if py * (bx - cx) - px * (by - cy) > 0 else (-py, px)  # from back to belly
        radius = 0.10 + 0.12 * thick
        mx, my = (nx + fx) / 2 + ox * radius * 0.8, (ny + fy) / 2 + oy * radius * 0.8
        skew = (lean - 0.5) * 0.3
        dx, dy = 1.3 * (px + skew * ox), 1.3 * (py + skew * oy)
        self._branch(grid_limb(mx - dx, my - dy, radius, mx + dx, my + dy, radius * 1.1))

    def _ground(self) -> None:
        """Grass, pebbles or water from the bottom up to a horizon behind the feet, with the bird's shadow on it."""
        depth, pick, offset = self._draw(3)
        kind, base, wide, high, ragged = GROUNDS[int(pick * len(GROUNDS))]
        color = rgb(base)
        if self.habitat in ("water", "wade"):
            kind, color, wide, high, ragged = "soft", self.tones[3], 0.5, 2.6, 0.0
            self.waterline = self._waterline()
        horizon = max(self.ground - 0.10 - 0.35 * depth, 0.05)
        window = self.canvas.window([(0.0, horizon, 0.0, 1.0, 1.0, 0.0)])
        tone = 0.52 + 0.75 * lookup(kind, window.x * wide + offset, window.y * high + offset)
        tone += 0.15 * clamp((window.y - horizon) * 2.0)
        blades = ragged * (lookup("grass", window.x * 0.9 + offset, window.y * 0.3 + offset) - 0.5)
        window.paint(horizon + 0.02 - window.y + blades, ink(color) * tone * self.light.flat(0.8), 0.02)
        x, y, size = self.points["body"][0], self.ground + 0.01, self.scale
        shadow = (x - 0.35 * size, y, 0.09 * size, x + 0.3 * size, y, 0.09 * size)
        below = self.canvas.window([shadow], 0.08)
        below.darken(clamp(0.5 - capsule(below, shadow) * 14) * 0.45)

    def _waterline(self) -> float:
        """Where the water meets the bird: the belly of a swimmer, the shins of a wader."""
        wades = self.habitat == "wade"
        top, bottom = (self.points[name][1] for name in (("shin_near", "foot_near") if wades else ("middle", "belly")))
        (level,) = self._draw(1)
        return on_grid(top + (bottom - top) * (level if wades else 0.55 + 0.6 * level))

    # -- in front ------------------------------------------------------------------------------------------------

    def front(self) -> None:
        """Water round the bird, grass at its feet, now and then leaves or a twig before it, and the shade of leaves."""
        if self.waterline < 1:
            self._water()
        busy, feet_hidden, count = self._draw(3)
        if self.habitat == "ground" and not self.flying and feet_hidden < 0.6:
            self._grass(10 + int(30 * count))
        if self.habitat == "branch" and not self.flying and feet_hidden < 0.22:
            for limb in self.perch:
                self._branch(limb, front=True)
        if busy < 0.45 and self.habitat != "water":
            (x, y), (dx, dy) = self.points["body"], self._draw(2, -0.3, 0.3)
            for _ in range(1 + int(5 * count)):
                ex, ey = self._draw(2, -0.10, 0.10)
                self._leaf((x + dx + ex, y + dy + ey + 0.05), 0.04, front=True)
        elif busy > 0.85:
            self._twig(front=True, leaves=5)
        self.light.dapple_window(self.canvas.whole())

    def _water(self) -> None:
        """The surface in front of the bird hides what is below it and mirrors a little of what is above."""
        window = self.canvas.window([(0.0, self.waterline, 0.0, 1.0, 1.0, 0.0)])
        phase = window.x * 9.0 + self.waterline * 31.0
        wave = np.abs(phase - np.floor(phase) - 0.5) * 0.012  # a triangle wave: exact, unlike a sine
        distance = self.waterline + wave - window.y  # (h, w)
        (offset,) = self._draw(1)
        ripple = lookup("soft", window.x * 0.6 + offset, window.y * 3.4 + offset)
        color = ink(self.tones[3]) * (0.7 + 0.75 * ripple) * self.light.flat(0.8)
        rows = self.canvas.rgb[:, : window.rows.start][:, ::-1][:, : distance.shape[0]]  # the picture above, mirrored
        color[:, : rows.shape[1]] += 0.32 * (rows - color[:, : rows.shape[1]])
        window.paint(distance, color)
        window.label(distance, 0)
