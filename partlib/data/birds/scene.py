"""Everything that is not the bird: what lies behind it, what it stands on, and what hangs in front of it."""

import math

import numpy as np

from partlib.data.birds.anatomy import PlacedFigure
from partlib.data.birds.light import Light
from partlib.data.birds.plants import Plants
from partlib.data.birds.raster import Canvas, Limb, capsule, clamp, grid_limb, ink, on_grid
from partlib.data.birds.species import rgb
from partlib.data.birds.textures import lookup

# dark, middle and light tone of what is out of focus behind the bird; colour of water under it
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
# texture, colour, its scale across and up (the ground is seen at a low angle), height of the blades on the horizon
GROUNDS = (
    ("grass", "#7c8c40", 0.75, 0.8, 0.10),
    ("grass", "#a0905c", 0.75, 0.8, 0.10),
    ("pebbles", "#a08c6c", 0.7, 1.9, 0.0),
    ("pebbles", "#a8a094", 0.7, 1.9, 0.0),
)
OPEN = ("sky", "overcast", "dusk", "stone")  # nothing grows in these
LEAVES: dict[str, tuple[str, ...]] = {
    "green": ("#4c7426", "#6c9434", "#35581e", "#8cac48"),
    "olive": ("#6c702c", "#8c8a44", "#545a26"),
    "autumn": ("#b4641c", "#d49a2c", "#8c3c1a", "#a88434"),
    "dark": ("#1e3c22", "#2c5230", "#3c6238"),
    "blossom": ("#e8b8c8", "#f4dce2", "#6c8c44"),
}
BARKS = ("#5c4a3a", "#746456", "#4a4440", "#8a7c6c", "#6a5238")


class Scenery:
    """Paints one scene around one placed bird. All draws come from ``rng``, in one fixed order."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, habitat: str, light: Light) -> None:
        self.canvas, self.rng, self.habitat, self.light = canvas, rng, habitat, light
        kinds = {
            "branch": ("foliage", "olive", "autumn", "shade", "sky", "overcast", "dusk", "blossom"),
            "trunk": ("foliage", "olive", "autumn", "shade", "overcast", "sky"),
            "ground": ("foliage", "olive", "reeds", "stone", "sky", "autumn", "overcast"),
            "water": ("reeds", "foliage", "shade", "sky", "overcast"),
            "wade": ("reeds", "foliage", "shade", "dusk", "overcast"),
        }[habitat]
        self.backdrop = kinds[int(rng.integers(len(kinds)))]
        near = {"autumn": "autumn", "blossom": "blossom", "shade": "dark", "olive": "olive"}.get(self.backdrop, "green")
        bark = rgb(BARKS[int(rng.integers(len(BARKS)))])
        self.plants = Plants(canvas, rng, light, [rgb(c) for c in LEAVES[near]], bark)
        self.perch: list[Limb] = []
        self.waterline = 2.0  # height of the water's edge in the picture; 2 is below it

    # -- behind --------------------------------------------------------------------------------------------------

    def behind(self, figure: PlacedFigure, flying: bool) -> None:
        """Backdrop, bokeh, blurred and sharp leaves, then what the bird stands on."""
        self._backdrop()
        for _ in range(int(self.rng.integers(0, 7))):
            self._bokeh()
        for _ in range(int(self.rng.integers(0, 4))):
            self.plants.leaf(self._anywhere(), 0.07, 0.02, 0.7)
        for _ in range(int(self.rng.integers(0, 3))):
            self.plants.twig(soft=0.008)
        feet = [figure.points["foot_near"], figure.points["foot_far"]]
        if flying:
            return
        if self.habitat in ("ground", "water", "wade"):
            self._ground(figure, max(y for _, y in feet))
        elif self.habitat == "trunk":
            self._trunk(figure)
        else:
            self._stand_on_branch(feet)
        if self.habitat not in ("water", "wade"):
            for _ in range(int(self.rng.integers(0, 3))):
                self.plants.twig(leaves=8)

    def _anywhere(self) -> tuple[float, float]:
        x, y = self.rng.uniform(-0.05, 1.05, 2).tolist()
        return x, y

    def _backdrop(self) -> None:
        """Light and dark out of focus: clouds, or a thicket that may be nearer and sharper."""
        window = self.canvas.whole()
        dark, middle, light = (ink(rgb(c)) for c in BACKDROPS[self.backdrop][:3])
        ox, oy, stretch, slope, near = self.rng.uniform(0, 1, 5).tolist()
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
        (x, y), (size, alpha) = self._anywhere(), self.rng.uniform(0, 1, 2).tolist()
        radius = 0.02 + 0.05 * size
        window = self.canvas.window([(x, y, radius, x, y, radius)], 0.02)
        if window is not None:
            distance = capsule(window, (x, y, radius, x, y, radius))
            window.paint(window.coverage(distance, 0.015) * (0.06 + 0.2 * alpha), rgb(BACKDROPS[self.backdrop][2]))

    # -- what the bird stands on ---------------------------------------------------------------------------------

    def _stand_on_branch(self, feet: list[tuple[float, float]]) -> None:
        """A branch under both feet, some side twigs with leaves."""
        slope, thick, bend, left, right = self.rng.uniform(0, 1, 5).tolist()
        (ax, ay), (bx, by) = sorted(feet)
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
            self.plants.side_twig(mx, my, tilt, radius)
        for limb in self.perch:
            self.plants.branch(limb)

    def _trunk(self, figure: PlacedFigure) -> None:
        """A trunk on the belly's side of an upright bird."""
        lean, thick = self.rng.uniform(0, 1, 2).tolist()
        points = figure.points
        (nx, ny), (fx, fy), (bx, by), (cx, cy) = (points[k] for k in ("foot_near", "foot_far", "belly", "body"))
        px, py = points["root"][0] - points["chest"][0], points["root"][1] - points["chest"][1]
        norm = max(math.hypot(px, py), 1e-3)
        px, py = px / norm, py / norm  # along the body
        ox, oy = (py, -px) if py * (bx - cx) - px * (by - cy) > 0 else (-py, px)  # from back to belly
        radius = 0.10 + 0.12 * thick
        mx, my = (nx + fx) / 2 + ox * radius * 0.8, (ny + fy) / 2 + oy * radius * 0.8
        skew = (lean - 0.5) * 0.3
        dx, dy = 1.3 * (px + skew * ox), 1.3 * (py + skew * oy)
        self.plants.branch(grid_limb(mx - dx, my - dy, radius, mx + dx, my + dy, radius * 1.1))

    def _ground(self, figure: PlacedFigure, feet: float) -> None:
        """Grass, pebbles or water from the bottom up to a horizon behind the feet, with the bird's shadow on it."""
        depth, pick, offset = self.rng.uniform(0, 1, 3).tolist()
        kind, base, wide, high, ragged = GROUNDS[int(pick * len(GROUNDS))]
        if self.habitat in ("water", "wade"):
            kind, base, wide, high, ragged = "soft", BACKDROPS[self.backdrop][3], 0.5, 2.6, 0.0
            self.waterline = self._waterline(figure)
        horizon = max(feet - 0.10 - 0.35 * depth, 0.05)
        window = self.canvas.window([(0.0, horizon, 0.0, 1.0, 1.0, 0.0)])
        if window is None:
            return
        tone = 0.52 + 0.75 * lookup(kind, window.x * wide + offset, window.y * high + offset)
        tone += 0.15 * clamp((window.y - horizon) * 2.0)
        blades = ragged * (lookup("grass", window.x * 0.9 + offset, window.y * 0.3 + offset) - 0.5)
        color = ink(rgb(base)) * tone * self.light.flat(0.8)
        window.paint(window.coverage(horizon + 0.02 - window.y + blades, 0.02), color)
        x, size = figure.points["body"][0], figure.scale
        shadow: Limb = (x - 0.35 * size, feet + 0.01, 0.09 * size, x + 0.3 * size, feet + 0.01, 0.09 * size)
        below = self.canvas.window([shadow], 0.08)
        if below is not None:
            below.darken(clamp(0.5 - capsule(below, shadow) * 14) * 0.45)

    def _waterline(self, figure: PlacedFigure) -> float:
        """Where the water meets the bird: the belly of a swimmer, the shins of a wader."""
        level = float(self.rng.uniform(0, 1))
        if self.habitat == "wade":
            shin, foot = figure.points["shin_near"][1], figure.points["foot_near"][1]
            return on_grid(shin + (foot - shin) * level)
        middle, belly = figure.points["middle"][1], figure.points["belly"][1]
        return on_grid(middle + (belly - middle) * (0.55 + 0.6 * level))

    # -- in front ------------------------------------------------------------------------------------------------

    def front(self, figure: PlacedFigure, flying: bool) -> None:
        """Water round the bird, grass at its feet, and now and then leaves or a twig before it."""
        if self.waterline < 1:
            self._water()
        busy, feet_hidden, count = self.rng.uniform(0, 1, 3).tolist()
        if self.habitat == "ground" and not flying and feet_hidden < 0.6:
            ground = max(figure.points["foot_near"][1], figure.points["foot_far"][1])
            self.plants.grass(ground, 10 + int(30 * count))
        if self.habitat == "branch" and not flying and feet_hidden < 0.22:
            for limb in self.perch:
                self.plants.branch(limb, front=True)
        if busy < 0.45 and self.habitat != "water":
            x, y = figure.points["body"]
            dx, dy = self.rng.uniform(-0.3, 0.3, 2).tolist()
            for _ in range(1 + int(5 * count)):
                ex, ey = self.rng.uniform(-0.10, 0.10, 2).tolist()
                self.plants.leaf((x + dx + ex, y + dy + ey + 0.05), 0.04, 0.0, 1.0, front=True)
        elif busy > 0.85:
            self.plants.twig(front=True, leaves=5)

    def _water(self) -> None:
        """The surface in front of the bird hides what is below it and mirrors a little of what is above."""
        window = self.canvas.window([(0.0, self.waterline, 0.0, 1.0, 1.0, 0.0)])
        if window is None:
            return
        phase = window.x * 9.0 + self.waterline * 31.0
        wave = np.abs(phase - np.floor(phase) - 0.5) * 0.012  # a triangle wave: exact, unlike a sine
        distance = self.waterline + wave - window.y  # (h, w)
        offset = float(self.rng.uniform(0, 1))
        ripple = lookup("soft", window.x * 0.6 + offset, window.y * 3.4 + offset)
        base = np.array(rgb(BACKDROPS[self.backdrop][3]), np.float32)
        color = base[:, None, None] * (0.7 + 0.75 * ripple) * self.light.flat(0.8)
        rows = self.canvas.rgb[:, : window.rows.start][:, ::-1][:, : distance.shape[0]]  # the picture above, mirrored
        color[:, : rows.shape[1]] += 0.32 * (rows - color[:, : rows.shape[1]])
        window.paint(window.coverage(distance), color)
        window.label(distance < 0, 0)
