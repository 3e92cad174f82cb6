"""One light for a whole scene: a sun, a sky, and the patches of shade that leaves throw."""

from dataclasses import dataclass

import numpy as np

from partlib.data.birds.raster import Color, Window, clamp, ink
from partlib.data.birds.textures import lookup


@dataclass(frozen=True)
class Light:
    """Directional sun and diffuse sky.

    ``direction`` is the unit vector towards the sun (x right, y down, z at the viewer); ``sun`` and ``sky`` are
    colours, together about 1 on a surface that faces the sun. ``dapple`` in [0, 1] is the strength of patchy shade.
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
        if self.dapple <= 0:
            return
        ox, oy = self.dapple_offset
        shade = lookup("soft", window.x * 0.9 + ox, window.y * 0.9 + oy)
        amount = clamp((shade - 0.42) * 3) * self.dapple
        window.darken(amount)


def draw_light(rng: np.random.Generator) -> Light:
    """A random light; the sun stands left or right, high or low, white, golden or blue."""
    u = rng.uniform(0, 1, 8).tolist()
    x, y, z = 1.6 * u[0] - 0.8, -0.35 - 0.6 * u[1], 0.35 + 0.5 * u[2]
    norm = (x * x + y * y + z * z) ** 0.5
    strength = 0.50 + 0.40 * u[3]
    warm = 0.16 * (u[4] - 0.35)
    sun = (strength * (1 + warm), strength, strength * (1 - 1.3 * warm))
    sky = tuple((1.18 - strength) * (0.85 + 0.25 * u[5]) * c for c in (0.97 - 0.5 * warm, 1.0, 1.06 + 0.6 * warm))
    dapple = max(0.0, 0.7 * u[6] - 0.35)
    return Light((x / norm, y / norm, z / norm), sun, sky, dapple, (u[7], u[6]))  # type: ignore[arg-type]
