"""Tileable gray textures, made once, each (SIZE, SIZE) float32 in [0, 1]: feather noise, spots, bars, scales, bark.

They color pictures and decide no mask, so they may use any arithmetic.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np

SIZE = 512


def lookup(name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Texture ``name`` at coordinates u, v that broadcast to (h, w); 1 is one whole tile, any offset wraps."""
    column, row = ((at * SIZE).astype(np.int32) & (SIZE - 1) for at in (u, v))
    return texture(name)[row, column]


@cache
def texture(name: str) -> np.ndarray:
    """Texture ``name``, a key of ``MAKERS``."""
    rng = np.random.Generator(np.random.PCG64(sorted(MAKERS).index(name)))
    values = MAKERS[name](rng).astype(np.float32)
    low, high = np.percentile(values, [0.5, 99.5])
    return np.clip((values - low) / (high - low), 0, 1)


def _waves(rng: np.random.Generator, *layers: tuple[int, int, float]) -> np.ndarray:
    """Sum of smooth noises, each of about ``cells_x`` by ``cells_y`` bumps per tile and as strong as its weight."""
    total: np.ndarray = np.zeros((SIZE, SIZE))
    for cells_x, cells_y, weight in layers:
        noise = rng.uniform(0, 1, (cells_y, cells_x))
        for axis, cells in enumerate(noise.shape):  # interpolated smoothly and periodically along each
            position = np.arange(SIZE) * cells / SIZE
            low = position.astype(int)
            t = np.expand_dims(position - low, 1 - axis)  # (SIZE, 1) or (1, SIZE)
            high = t * t * (3 - 2 * t)
            noise = np.take(noise, low, axis) * (1 - high) + np.take(noise, (low + 1) % cells, axis) * high
        total += weight * noise
    return total


def _around(x: float, y: float, reach: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The pixels at most ``reach`` from (x, y): dx (1, n) and dy (n, 1) from there, and their indices in a texture."""
    dy, dx = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return dx, dy, ((int(y) + dy) % SIZE, (int(x) + dx) % SIZE)


def _blobs(rng: np.random.Generator, length: float, width: float) -> np.ndarray:
    """Separate blobs on a jittered hexagonal grid, long along u."""
    field: np.ndarray = np.zeros((SIZE, SIZE))
    pitch = SIZE / 12
    for row, column in np.ndindex(12, 12):
        x = (column + 0.5 * (row % 2) + rng.uniform(-0.25, 0.25)) * pitch
        y = (row + rng.uniform(-0.22, 0.22)) * pitch
        size = rng.uniform(0.75, 1.15)
        dx, dy, at = _around(x, y, int(2 * pitch * max(length, width)) + 1)
        squared = (dx / (pitch * length * size)) ** 2 + (dy / (pitch * width * size)) ** 2
        field[at] = np.maximum(field[at], np.clip(1.6 - 1.3 * squared, 0, 1))
    return field


def _bars(rng: np.random.Generator) -> np.ndarray:
    """Wavy stripes across u."""
    phase = 12 * (np.arange(SIZE)[None, :] / SIZE) + 0.7 * _waves(rng, (6, 10, 1))
    return np.clip(0.5 + 2.2 * (np.abs((phase % 1) * 2 - 1) - 0.5), 0, 1)


def _scales(rng: np.random.Generator) -> np.ndarray:
    """Overlapping rounded feathers whose tips point to -u, dark between and pale at the rim."""
    count = 14
    u, v = np.meshgrid(np.arange(SIZE) * count / SIZE, np.arange(SIZE) * count / SIZE)
    height: np.ndarray = np.zeros((SIZE, SIZE))
    for row in range(2 * count + 2):  # painted from front to back along +u
        du = (u - row / 2 + count / 2) % count - count / 2
        dv = ((v + 0.5 * (row % 2)) % 1) - 0.5
        radius = np.sqrt((du * 0.9) ** 2 + dv**2)
        inside = (radius < 0.56) & (du < 0.3)
        height = np.where(inside, np.clip(1.25 - 1.7 * radius + 0.9 * (radius > 0.46), 0, 1), height)
    return height + 0.25 * _waves(rng, (40, 120, 1))


def _foliage(rng: np.random.Generator, blurs: int = 0) -> np.ndarray:
    """Some hundred overlapping leaves, each with a lit and a shaded half; ``blurs`` puts them out of focus."""
    field = 0.12 + 0.1 * _waves(rng, (30, 30, 1))
    for i in range(700):
        x, y, angle, size, tone = rng.uniform(0, 1, 5)
        length = 18 + 22 * size
        tone = (0.15 + 0.55 * tone) * (0.4 + 0.6 * i / 700)  # leaves farther back are darker
        ux, uy = np.cos(2 * np.pi * angle), np.sin(2 * np.pi * angle)
        dx, dy, at = _around(x * SIZE, y * SIZE, int(length) + 1)
        along, side = dx * ux + dy * uy, dx * uy - dy * ux
        inside = np.abs(side) < 0.42 * length * (1 - (along / length) ** 2)
        value = tone + 0.16 * (side > 0) + 0.22 * (np.abs(side) < 0.9) + 0.05 * (along / length)
        field[at] = np.where(inside, value, field[at] * (1 - 0.10 * (np.abs(side) < 0.55 * length)))
    for axis in (0, 1) * blurs:
        field = np.mean([np.roll(field, k, axis) for k in range(-5, 6)], axis=0)
    return field


def _grass(rng: np.random.Generator) -> np.ndarray:
    """A meadow from the side: blades that rise along -v, near ones over far ones."""
    field = 0.2 + 0.15 * _waves(rng, (40, 20, 1))
    for i in range(1500):
        x, tone, lean, size = rng.uniform(0, 1, 4)
        height, tip = int(40 + 60 * size), 30 * (lean - 0.5)
        t = np.arange(int(0.6 * height)) / height
        rows, columns = int(i / 1500 * SIZE) - np.arange(len(t)), (x * SIZE + tip * t * t)
        for offset in (-1, 0, 1):
            at = rows % SIZE, (columns + offset).astype(int) % SIZE
            field[at] = 0.15 + 0.5 * tone + 0.35 * t + 0.08 * offset
    return field + 0.25 * _waves(rng, (6, 12, 1))


def _pebbles(rng: np.random.Generator) -> np.ndarray:
    field = 0.2 + 0.2 * _waves(rng, (60, 60, 1))
    for _ in range(900):
        x, y, size, tone, squash = rng.uniform(0, 1, 5)
        radius = 5 + 11 * size * size
        dx, dy, at = _around(x * SIZE, y * SIZE, int(radius) + 2)
        distance = np.sqrt(dx**2 + (dy * (1.3 + 0.4 * squash)) ** 2) / radius
        value = 0.25 + 0.5 * tone - 0.25 * dy / radius - 0.25 * distance**4
        field[at] = np.where(distance < 1, value, field[at])
    return field + 0.1 * _waves(rng, (150, 150, 1))


MAKERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "soft": lambda rng: _waves(rng, (4, 4, 1), (9, 9, 0.5), (19, 19, 0.25)),
    "fine": lambda rng: _waves(rng, (48, 48, 1), (100, 100, 1), (200, 200, 0.7)),
    "barbs": lambda rng: _waves(rng, (24, 110, 1), (50, 190, 0.8), (10, 20, 0.4)),  # hair along u: plumage near by
    "bark": lambda rng: _waves(rng, (8, 60, 1), (26, 120, 0.7), (90, 160, 0.6), (6, 8, 0.5)),
    "streaks": partial(_blobs, length=0.48, width=0.17),
    "spots": partial(_blobs, length=0.27, width=0.25),
    "bars": _bars,
    "scales": _scales,
    "foliage": _foliage,
    "thicket": partial(_foliage, blurs=2),
    "grass": _grass,
    "pebbles": _pebbles,
}
