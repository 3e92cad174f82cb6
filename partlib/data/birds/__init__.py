"""The embedded data set: procedural birds with exact part masks and CUB's 15 keypoints.

Nothing is downloaded. Image i of a split depends on ``(seed, split, i)`` alone: a species, a pose, a light and a scene
are drawn (``species``, ``scene``). The bird becomes a figure of capsules (``anatomy``, ``raster``), painted
with its labels (``plumage``) between a backdrop and what hangs before it (``scene``). Masks and keypoints are the same
to the bit on every machine; colors may differ by rounding.
"""

from pathlib import Path

import numpy as np

from partlib.data.base import SPLITS, ArrayDataset
from partlib.data.birds.anatomy import Figure, PlacedFigure, place
from partlib.data.birds.plumage import BACK, BEAK, BREAST, HEAD, LEGS, PART_NAMES, TAIL, WING, BirdPainter
from partlib.data.birds.raster import Canvas, Color
from partlib.data.birds.scene import Light, Scenery
from partlib.data.birds.species import SEEN, SPECIES, Species, draw_pose, region_colors
from partlib.data.birds.textures import lookup
from partlib.distributed import progress_bar
from partlib.errors import ConfigError
from partlib.paths import cached_arrays

VERSION = 1  # raise it whenever a picture changes: caches and fingerprints depend on it
DEFAULT_IMAGES = {"train": 600, "val": 100, "test": 200}
UNSEEN_EVERY = 3  # every third test image shows a species that no other split has
LABEL_NAMES = tuple(species.name for species in SPECIES)
UNSEEN_LABELS = tuple(range(len(SEEN), len(SPECIES)))

# CUB-200-2011's keypoints in its order -> (point of the figure, parts whose pixels may show there)
KEYPOINTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "back": ("back", (BACK, WING)),
    "beak": ("beak", (BEAK,)),
    "belly": ("belly", (BREAST,)),
    "breast": ("breast", (BREAST,)),
    "crown": ("crown", (HEAD,)),
    "forehead": ("forehead", (HEAD, BEAK)),
    "left eye": ("eye_left", (HEAD, BEAK)),
    "left leg": ("shin_left", (LEGS,)),
    "left wing": ("wing_left", (WING,)),
    "nape": ("nape", (HEAD, BACK)),
    "right eye": ("eye_right", (HEAD, BEAK)),
    "right leg": ("shin_right", (LEGS,)),
    "right wing": ("wing_right", (WING,)),
    "tail": ("tail", (TAIL,)),
    "throat": ("throat", (HEAD, BREAST)),
}


def load(split: str, root: Path | None, image_size: int, num_images: int | None = None, seed: int = 0) -> ArrayDataset:
    """One split of the birds; rendered on first use, read from the cache afterwards.

    Parameters
    ----------
    split : "train", "val" or "test". About a third of the test images show species that no other split has.
    root : unused, the birds need no files.
    image_size : side in pixels, 32 to 512.
    num_images, seed : by default 600, 100 and 200 images; another seed, other images.
    """
    num_images = DEFAULT_IMAGES.get(split, 0) if num_images is None else num_images
    if not 32 <= image_size <= 512:
        raise ConfigError(f"image_size is {image_size}; birds can be drawn from 32 to 512 pixels")
    if num_images < 1:
        raise ConfigError(f"num_images is {num_images}; expected at least 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")

    def make(folder: Path) -> None:
        for name, array in generate(split, num_images, image_size, seed).items():
            np.save(folder / f"{name}.npy", array)

    key = f"v{VERSION}-{split}-{num_images}x{image_size}-seed{seed}"
    arrays = cached_arrays("birds", key, make)
    return ArrayDataset(
        arrays["images"],
        None,
        arrays["parts"],
        arrays["keypoints"],
        arrays["labels"],
        [f"{split}-{seed}-{i:06d}" for i in range(num_images)],
        f"birds-{key}",
        name="birds",
        split=split,
        part_names=PART_NAMES,
        keypoint_names=tuple(KEYPOINTS),
        label_names=LABEL_NAMES,
        unseen_labels=UNSEEN_LABELS,
        boxes=arrays["boxes"],
    )


def generate(split: str, num_images: int, image_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Render ``num_images`` birds, N of S by S pixels.

    Image i depends on ``(seed, split, i)`` alone, so the first n of a longer run are those of a shorter one, and
    another size shows the same scenes.
    """
    arrays: dict[str, np.ndarray] = {
        "images": np.empty((num_images, image_size, image_size, 3), np.uint8),  # RGB
        "parts": np.empty((num_images, image_size, image_size), np.uint8),  # 0 background, 1..7 index PART_NAMES
        "keypoints": np.empty((num_images, len(KEYPOINTS), 3), np.float32),  # x, y, visible; (0, 0) is a pixel's center
        "labels": np.empty(num_images, np.int64),  # index LABEL_NAMES
        "boxes": np.empty((num_images, 4), np.float32),  # x, y, width, height of the visible bird in whole pixels
    }
    slow = num_images * image_size * image_size > 100 * 128 * 128  # more than about a second of work
    for i in progress_bar(range(num_images), f"birds {split}", leave=False, shown=slow):
        drawn = _render(i, split, image_size, seed)
        for array, value in zip(arrays.values(), drawn, strict=True):
            array[i] = value
    return arrays


def _render(index: int, split: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, tuple]:
    """Image ``index``, its parts, keypoints, label and box."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split), index])))
    if split == "test" and index % UNSEEN_EVERY == 0:
        label = len(SEEN) + int(rng.integers(len(SPECIES) - len(SEEN)))
    else:
        label = int(rng.integers(len(SEEN)))
    # What is drawn at random, always in this order.
    species = SPECIES[label]
    pose = draw_pose(rng, species)
    grow, dx, dy = rng.uniform(0, 1, 3).tolist()
    smallest = 0.70 if species.habitat == "wade" else 0.55  # long legs make a long box round a small bird
    figure = place(Figure(species, pose), smallest + (0.95 - smallest) * grow, (dx, dy))
    light = Light(rng)
    colors = _individual_colors(rng, species)
    (grain_u, grain_v), (noise, contrast) = rng.uniform(0, 1, (2, 2)).tolist()
    # The picture, from back to front.
    canvas = Canvas(size)
    scenery = Scenery(canvas, rng, light, figure)
    scenery.behind()
    BirdPainter(canvas, figure, light, colors, (grain_u, grain_v)).paint()
    scenery.front()
    parts = canvas.parts
    return _develop(canvas, noise, contrast), parts, _keypoints(figure, parts), label, _box(parts)


def _individual_colors(rng: np.random.Generator, species: Species) -> dict[str, Color]:
    """The species' colors, a little lighter or darker, redder or bluer from bird to bird."""
    bright, warm = (rng.uniform(-1, 1, 2) * (0.10, 0.05)).tolist()
    r, g, b = (1 + bright) * (1 + warm), 1 + bright, (1 + bright) * (1 - warm)
    colors = region_colors(species).items()
    return {k: (min(red * r, 1.0), min(green * g, 1.0), min(blue * b, 1.0)) for k, (red, green, blue) in colors}


def _develop(canvas: Canvas, grain: float, contrast: float) -> np.ndarray:
    """Picture as (S, S, 3) uint8, with the camera's noise and contrast."""
    noise = lookup("fine", canvas.whole.x * 0.93 + grain, canvas.whole.y * 0.93 + contrast) - 0.5
    picture = (canvas.rgb - 0.45) * (0.95 + 0.25 * contrast) + 0.47 + noise * 0.035
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)  # (S, S, 3)


def _keypoints(figure: PlacedFigure, parts: np.ndarray) -> np.ndarray:
    """CUB's keypoints (15, 3); a hidden one keeps its true place.

    A point is visible where a pixel of a part that it belongs to shows within S / 64 pixels.
    """
    points, hidden, pose = dict(figure.points), set(), figure.pose
    # A bird that faces right shows the viewer its right side.
    for side, depth in zip(("right", "left")[:: pose.facing], ("near", "far"), strict=True):
        for name in ("eye", "shin", "wing"):
            points[f"{name}_{side}"] = points.get(f"{name}_{depth}", points.get(name, points["body"]))
        if pose.eye_showing(depth, figure.species.eye_azimuth) <= 0.12:
            hidden.add(f"eye_{side}")
        if depth == "far" and "wing_far" not in figure.points:
            hidden.add(f"wing_{side}")
    rows = np.zeros((len(KEYPOINTS), 3), np.float32)
    size, reach = len(parts), max(len(parts) // 64, 1)
    for row, (point, allowed) in zip(rows, KEYPOINTS.values(), strict=True):
        x, y = points[point][0] * size - 0.5, points[point][1] * size - 0.5
        near = parts[_around(y, reach, size), _around(x, reach, size)]
        row[:] = x, y, point not in hidden and any((near == part).any() for part in allowed)
    return rows


def _around(center: float, reach: int, size: int) -> slice:
    """Pixels at most ``reach`` from the one that ``center`` lies in; none where it lies outside the picture."""
    if not -0.5 <= center <= size - 0.5:
        return slice(0, 0)
    return slice(max(int(center + 0.5) - reach, 0), int(center + 0.5) + reach + 1)


def _box(parts: np.ndarray) -> tuple[int, ...]:
    rows, columns = parts.any(axis=1).nonzero()[0], parts.any(axis=0).nonzero()[0]
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
