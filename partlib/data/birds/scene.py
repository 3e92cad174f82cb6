"""Everything that is not the bird: the light, what lies behind it, what it stands on, and what hangs in front of it."""

import cmath
import json
import math
from importlib.resources import files

import numpy as np

from partlib.data.birds.anatomy import Figure
from partlib.data.birds.raster import Array, Canvas, Limb, clamp, grid_limb, ink, on_grid
from partlib.data.birds.textures import lookup

# backdrops: dark, middle and light tone of what is out of focus behind the bird, color of water under it, leaves
# waterlines: the water meets a wader at its shins, a swimmer at its belly; two points, and where between them
# grounds: scale of the texture across and up (it is seen at a low angle), height of the blades on the horizon
TABLE = json.loads(files(__package__).joinpath("scenery.json").read_text("utf-8"))
OPEN = ("sky", "overcast", "dusk", "stone")  # backdrops in which nothing grows


class Light:
    """A random sun, left or right, high or low, white, golden or blue, and a diffuse sky; together about 1."""

    def __init__(self, rng: np.random.Generator) -> None:
        u = rng.uniform(0, 1, 8).tolist()
        x, y, z = 1.6 * u[0] - 0.8, -0.35 - 0.6 * u[1], 0.35 + 0.5 * u[2]
        norm = (x * x + y * y + z * z) ** 0.5
        self.direction = x / norm, y / norm, z / norm  # towards the sun: x right, y down, z at the viewer
        strength, warm = 0.50 + 0.40 * u[3], 0.16 * (u[4] - 0.35)
        self.sun = ink((strength * (1 + warm), strength, strength * (1 - 1.3 * warm)))
        glow = (1.18 - strength) * (0.85 + 0.25 * u[5])
        self.sky = ink((glow * (0.97 - 0.5 * warm), glow, glow * (1.06 + 0.6 * warm)))
        self.dapple, self.dapple_offset = max(0.0, 0.7 * u[6] - 0.35), (u[7], u[6])  # patchy shade: strength, place

    def shade(self, normals: tuple[Array, ...]) -> Array:
        """Brightness (3, h, w) of a white surface with these normals (x, y, z), each (h, w)."""
        (nx, ny, nz), (lx, ly, lz) = normals, self.direction
        return np.maximum(nx * lx + ny * ly + nz * lz, 0) * self.sun + (0.74 - 0.26 * ny) * self.sky

    def flat(self, facing: float = 0.75) -> Array:
        """Brightness (3, 1, 1) of a surface that turns ``facing`` of 1 to the sun."""
        return facing * self.sun + 0.8 * self.sky


class Scenery:
    """One scene around one bird. Plants in ``front`` take pixels away from it; ``soft`` blurs the rim of others."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, light: Light, figure: Figure) -> None:
        self.canvas, self.rng, self.light = canvas, rng, light
        self.points, self.scale, self.flying = figure.points, figure.scale, figure.pose.flying
        self.habitat = figure.species.habitat
        self.backdrop = str(rng.choice(TABLE["habitats"][self.habitat]))
        tones = TABLE["backdrops"][self.backdrop]
        self.dark, self.middle, self.pale, self.water = (ink(tones[k]) for k in ("dark", "middle", "light", "water"))
        self.leaf_colors = [ink(color) for color in TABLE["leaves"][tones["leaves"]]]
        self.bark = ink(str(rng.choice(TABLE["barks"])))
        self.perch: list[Limb] = []  # the branch under the feet
        self.ground = max(self.points["foot_near"].imag, self.points["foot_far"].imag)
        self.waterline = 2.0  # height of the water's edge in the picture; 2 is below it

    def _draw(self, count: int, low: float = 0.0, high: float = 1.0) -> list[float]:
        return self.rng.uniform(low, high, count).tolist()

    def behind(self) -> None:
        """Backdrop, bokeh, blurred and sharp leaves, then what the bird stands on."""
        self._backdrop()
        for _ in range(int(self.rng.integers(0, 7))):  # bokeh: highlights out of focus, pale discs
            (x, y), (size, alpha) = self._draw(2, -0.05, 1.05), self._draw(2)
            disc = (x, y, 0.02 + 0.05 * size) * 2
            window = self.canvas.window([disc], 0.02)
            window.paint(window.capsule(disc)[0], self.pale, soft=0.015, opacity=0.06 + 0.2 * alpha)
        for _ in range(int(self.rng.integers(0, 4))):
            self._leaf(complex(*self._draw(2, -0.05, 1.05)), 0.07, 0.02, 0.7)
        for _ in range(int(self.rng.integers(0, 3))):
            self._twig(soft=0.008)
        if self.flying:
            return
        {"branch": self._stand_on_branch, "trunk": self._trunk}.get(self.habitat, self._ground)()
        if self.habitat not in ("water", "wade"):
            for _ in range(int(self.rng.integers(0, 3))):
                self._twig(leaves=8)

    def _backdrop(self) -> None:
        """Light and dark out of focus: clouds, or a thicket that may be nearer and sharper."""
        x, y = self.canvas.x, self.canvas.y
        ox, oy, stretch, slope, near = self._draw(5)
        size = 0.35 + 0.5 * stretch
        tone = 0.15 + 0.9 * lookup("soft", x * size + ox, y * size + oy) + (slope - 0.6) * (y - 0.5)  # (H, W)
        if self.backdrop not in OPEN:
            name = "foliage" if near < 0.45 else "thicket"
            clutter = lookup(name, x * (0.4 + size) + oy, y * (0.4 + size) + ox)
            tone = tone * (0.35 + 1.0 * clutter) + 0.35 * (clutter - 0.3)
        color = self.dark + (self.middle - self.dark) * clamp(tone * 1.7)  # (3, H, W)
        color += (self.pale - color) * (clamp(tone * 1.8 - 0.85) * 0.8)
        self.canvas.rgb[:] = color * self.light.flat(0.85)

    def _leaf(self, at: complex, size: float, soft: float = 0.0, opacity: float = 1.0, front: bool = False) -> None:
        """A pointed leaf: where two discs overlap."""
        angle, grow, tone, pick, fold = self._draw(5)
        length, turn = size * (0.7 + 1.2 * grow), 6.2832 * angle
        ux, uy = on_grid(math.cos(turn)), on_grid(math.sin(turn))
        x, y, length = on_grid(at.real), on_grid(at.imag), on_grid(length)
        window = self.canvas.window([(x, y, length) * 2], soft)
        px, py = window.x - x, window.y - y
        along, side = px * ux + py * uy, px * uy - py * ux
        bow, radius = 0.95 * length, 1.38 * length  # half the leaf's width is radius - bow
        left, right = (np.sqrt(along * along + center * center) for center in (side - bow, side + bow))
        distance = np.maximum(left, right) - radius
        color = self.leaf_colors[int(pick * len(self.leaf_colors))]
        half = np.where(side > 0, 1.12, 0.82 + 0.2 * fold)
        vein = 1 + 0.35 * clamp(1 - np.abs(side) * (14 / length))
        ribs = 0.95 + 0.1 * (np.abs(((along + np.abs(side)) * (4 / length)) % 1 - 0.5) > 0.3)
        shade = half * vein * ribs * (0.65 + 0.6 * tone)
        if front:
            window.rgb *= 1 - clamp(0.6 - distance * (1 / (0.25 * length))) * 0.3
        window.paint(distance, color * shade * self.light.flat(0.8), 0 if front else None, soft, opacity)

    def _branch(self, limb: Limb, soft: float = 0.0, front: bool = False) -> None:
        """A piece of wood with bark, lit from above."""
        window = self.canvas.window([limb], soft)
        distance, along = window.capsule(limb)
        side = window.across(limb) * (1 / max(limb[2], 1e-3))
        length = math.hypot(limb[3] - limb[0], limb[4] - limb[1])
        bark = lookup("bark", along * (length * 1.2) + limb[1], side * 0.1 + limb[0])
        upward = side * (1.0 if limb[3] < limb[0] else -1.0)  # across() is positive to the left of a -> b
        shade = np.clip(0.78 - 0.42 * upward, 0.3, 1.25) * (0.7 + 0.6 * bark)
        window.paint(distance, self.bark * self.light.flat(0.8) * shade, 0 if front else None, soft)

    def _twig(self, soft: float = 0.0, front: bool = False, leaves: int = 0) -> None:
        """A thin branch across the picture, with up to ``leaves`` leaves on it."""
        x, y, turn, length, radius = self._draw(5)
        center, half = complex(x, y), cmath.rect(0.25 + 0.4 * length, 6.2832 * turn)
        self._branch(grid_limb(center - half, 0.005 + 0.009 * radius, center + half, 0.004), soft, front)
        for i in range(leaves):  # they alternate
            self._leaf(center + half * complex((i + 0.5) / leaves * 2 - 1, -0.02 * (-1) ** i), 0.032, soft, front=front)

    def _grass(self, count: int) -> None:
        """Blades of grass before everything that stands on the ground."""
        color = self.leaf_colors[0] * self.light.flat(0.8)
        for x, y, lean, height, tone in self.rng.uniform(0, 1, (count, 5)).tolist():
            foot = complex(1.1 * x - 0.05, self.ground + 0.03 + 0.16 * y)
            limb = grid_limb(foot, 0.005, foot + complex(0.12 * (lean - 0.5), -0.05 - 0.10 * height), 0.0012)
            window = self.canvas.window([limb])
            window.paint(window.capsule(limb)[0], color * (0.6 + 0.8 * tone), 0)

    def _stand_on_branch(self) -> None:
        """A branch under both feet, some side twigs with leaves."""
        slope, thick, bend, left, right = self._draw(5)
        first, second = sorted((self.points["foot_near"], self.points["foot_far"]), key=lambda foot: foot.real)
        apart = second - first
        tilt = math.tan(math.radians(50 * slope - 25)) * 0.6 + 0.25 * apart.imag / max(apart.real, 0.03)
        radius = 0.016 + 0.026 * thick
        middle = (first + second) / 2 + 0.85j * radius
        left, right = middle.real + 0.15 + left, middle.real + 0.15 + 0.9 * right  # how far it reaches
        self.perch = [
            grid_limb(middle - left * (1 + 1j * tilt) + 0.05j * bend, radius * 1.3, middle, radius),
            grid_limb(middle, radius, middle + right * (1 + 1j * tilt) + 0.08j * bend, radius * 0.6),
        ]
        for _ in range(int(self.rng.integers(0, 4))):  # side twigs, with leaves at their ends
            t, rise, reach, count = self._draw(4)
            along = 0.9 * t - 0.45
            start = middle + complex(along, tilt * along)
            end = start + complex((0.25 * reach + 0.05) * (1 if along > 0 else -1), 0.4 * (rise - 0.6))
            self._branch((start.real, start.imag, radius * 0.45, end.real, end.imag, radius * 0.2))
            for i in range(int(count * 5)):
                self._leaf(start + (0.4 + 0.15 * i) * (end - start), 0.035)
        for limb in self.perch:
            self._branch(limb)

    def _trunk(self) -> None:
        """A trunk on the belly's side of an upright bird."""
        lean, thick = self._draw(2)
        names = ("foot_near", "foot_far", "belly", "body", "root", "chest")
        near, far, belly, body, root, chest = (self.points[name] for name in names)
        along, radius = (root - chest) / max(abs(root - chest), 1e-3), 0.10 + 0.12 * thick
        out = along * (1j if ((belly - body) / along).imag >= 0 else -1j)  # from back to belly
        middle, reach = (near + far) / 2 + out * radius * 0.8, 1.3 * (along + (lean - 0.5) * 0.3 * out)
        self._branch(grid_limb(middle - reach, radius, middle + reach, radius * 1.1))

    def _ground(self) -> None:
        """Grass, pebbles or water from the bottom up to a horizon behind the feet, with the bird's shadow on it."""
        depth, pick, offset = self._draw(3)
        ground = TABLE["grounds"][int(pick * len(TABLE["grounds"]))]
        color = ink(ground["color"])
        if self.habitat in TABLE["waterlines"]:
            ground, color = TABLE["water"], self.water
            upper, lower, least, more = TABLE["waterlines"][self.habitat]
            top, bottom = self.points[upper].imag, self.points[lower].imag
            self.waterline = on_grid(top + (bottom - top) * (least + more * self._draw(1)[0]))
        horizon = max(self.ground - 0.10 - 0.35 * depth, 0.05)
        window = self.canvas.window([(0.0, horizon, 0.0, 1.0, 1.0, 0.0)])
        u, v = window.x * ground["across"] + offset, window.y * ground["up"] + offset
        tone = 0.52 + 0.75 * lookup(ground["texture"], u, v) + 0.15 * clamp((window.y - horizon) * 2.0)
        blades = ground["blades"] * (lookup("grass", window.x * 0.9 + offset, window.y * 0.3 + offset) - 0.5)
        window.paint(horizon + 0.02 - window.y + blades, color * tone * self.light.flat(0.8), soft=0.02)
        x, y, size = self.points["body"].real, self.ground + 0.01, self.scale
        shadow = (x - 0.35 * size, y, 0.09 * size, x + 0.3 * size, y, 0.09 * size)
        below = self.canvas.window([shadow], 0.08)
        below.rgb *= 1 - clamp(0.5 - below.capsule(shadow)[0] * 14) * 0.45

    def front(self) -> None:
        """Water round the bird, grass at its feet, now and then leaves or a twig before it, and the shade of leaves."""
        if self.waterline < 1:
            self._water()
        busy, feet_hidden, count = self._draw(3)
        if self.habitat == "ground" and not self.flying and feet_hidden < 0.6:
            self._grass(10 + int(30 * count))
        for limb in self.perch if feet_hidden < 0.22 else []:
            self._branch(limb, front=True)
        if busy < 0.45 and self.habitat != "water":
            middle = self.points["body"] + complex(*self._draw(2, -0.3, 0.3)) + 0.05j
            for _ in range(1 + int(5 * count)):
                self._leaf(middle + complex(*self._draw(2, -0.10, 0.10)), 0.04, front=True)
        elif busy > 0.85:
            self._twig(front=True, leaves=5)
        # Leaves outside the picture throw patches of shade on all of it.
        ox, oy = self.light.dapple_offset
        shade = lookup("soft", self.canvas.x * 0.9 + ox, self.canvas.y * 0.9 + oy)
        self.canvas.rgb *= 1 - clamp((shade - 0.42) * 3) * self.light.dapple

    def _water(self) -> None:
        """The surface in front of the bird hides what is below it and mirrors a little of what is above."""
        window = self.canvas.window([(0.0, self.waterline, 0.0, 1.0, 1.0, 0.0)])
        phase = window.x * 9.0 + self.waterline * 31.0
        wave = np.abs(phase - np.floor(phase) - 0.5) * 0.012  # a triangle wave: exact, unlike a sine
        distance = self.waterline + wave - window.y  # (h, w)
        offset = self._draw(1)[0]
        ripple = lookup("soft", window.x * 0.6 + offset, window.y * 3.4 + offset)
        color = self.water * (0.7 + 0.75 * ripple) * self.light.flat(0.8)
        above = self.canvas.rgb[:, : self.canvas.size - len(distance)][:, ::-1][:, : len(distance)]  # mirrored
        color[:, : above.shape[1]] += 0.32 * (above - color[:, : above.shape[1]])
        window.paint(distance, color, 0)
