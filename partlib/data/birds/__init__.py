"""The embedded data set: procedural birds with exact part masks and CUB's 15 keypoints.

Nothing is downloaded. Image i of a split depends on ``(seed, split, i)`` alone: a species, a pose, a light and a scene
are drawn (``bird_species``, ``bird_pose``, ``bird_light``). The bird becomes a figure of capsules (``bird_anatomy``),
painted with its labels (``bird_plumage``, ``bird_head``) between a backdrop and what hangs before it (``bird_scene``,
``bird_plants``). Masks and keypoints are the same to the bit on every machine; colours may differ by rounding.
"""

import hashlib
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from partlib.data.base import SPLITS, ArrayDataset
from partlib.data.birds.anatomy import PlacedFigure, build_figure, place
from partlib.data.birds.light import draw_light
from partlib.data.birds.plumage import BACK, BEAK, BREAST, HEAD, LEGS, PART_NAMES, TAIL, WING, BirdPainter
from partlib.data.birds.pose import Pose, draw_pose
from partlib.data.birds.raster import Canvas, Color
from partlib.data.birds.scene import Scenery
from partlib.data.birds.species import SEEN, SPECIES, Species, region_colors, rgb
from partlib.data.birds.textures import lookup
from partlib.errors import ConfigError
from partlib.paths import cache_dir

VERSION = 1  # raise it whenever a picture changes: caches and fingerprints depend on it
DEFAULT_IMAGES = {"train": 600, "val": 100, "test": 200}
UNSEEN_EVERY = 3  # every third test image shows a species that no other split has
LABEL_NAMES = tuple(species.name for species in SPECIES)
UNSEEN_LABELS = tuple(range(len(SEEN), len(SPECIES)))
ARRAYS = ("images", "parts", "keypoints", "labels", "boxes")

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
KEYPOINT_NAMES = tuple(KEYPOINTS)


@dataclass(frozen=True)
class BirdArrays:
    """N rendered birds.

    images : (N, S, S, 3) uint8 RGB.
    parts : (N, S, S) uint8, 0 is background, 1..7 index ``PART_NAMES``.
    keypoints : (N, 15, 3) float32 (x, y, visible) in pixels, 0 is the centre of the first pixel; a hidden point keeps
        its true place.
    labels : (N,) int64, index into ``LABEL_NAMES``.
    boxes : (N, 4) float32 (x, y, width, height) of the visible bird in pixels; x, y is the first pixel's index.
    """

    images: np.ndarray
    parts: np.ndarray
    keypoints: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


def load(split: str, root: Path | None, image_size: int, num_images: int | None = None, seed: int = 0) -> ArrayDataset:
    """One split of the birds; rendered on first use, read from the cache afterwards.

    Parameters
    ----------
    split : "train", "val" or "test". About a third of the test images show species that no other split has.
    root : unused, the birds need no files.
    image_size : side in pixels, 32 to 512.
    num_images : number of images; default 600, 100 and 200.
    seed : another seed, other images.

    Returns
    -------
    ArrayDataset with the extra attributes ``boxes`` (N, 4) and ``unseen_labels`` (labels that only the test split has).

    Raises
    ------
    ConfigError : a size, number or seed out of range.
    """
    num_images = DEFAULT_IMAGES.get(split, 0) if num_images is None else num_images
    _check(split, num_images, image_size, seed)
    key = f"v{VERSION}-{split}-{num_images}x{image_size}-seed{seed}"
    arrays = _cached(key, split, num_images, image_size, seed)
    return ArrayDataset(
        arrays.images,
        None,
        arrays.parts,
        arrays.keypoints,
        arrays.labels,
        [f"{split}-{seed}-{i:06d}" for i in range(num_images)],
        f"birds-{key}",
        name="birds",
        split=split,
        part_names=PART_NAMES,
        keypoint_names=KEYPOINT_NAMES,
        label_names=LABEL_NAMES,
        boxes=arrays.boxes,
        unseen_labels=UNSEEN_LABELS,
    )


def generate(split: str, num_images: int, image_size: int, seed: int = 0) -> BirdArrays:
    """Render ``num_images`` birds. Image i depends on ``(seed, split, i)`` alone, so the first n of
    a longer run are those of a shorter one, and another size shows the same scenes.

    Raises
    ------
    ConfigError : an argument out of range, as in :func:`load`.
    """
    _check(split, num_images, image_size, seed)
    arrays = BirdArrays(
        images=np.empty((num_images, image_size, image_size, 3), np.uint8),
        parts=np.empty((num_images, image_size, image_size), np.uint8),
        keypoints=np.empty((num_images, len(KEYPOINTS), 3), np.float32),
        labels=np.empty(num_images, np.int64),
        boxes=np.empty((num_images, 4), np.float32),
    )
    slow = num_images * image_size * image_size > 100 * 128 * 128  # more than about a second of work
    for i in tqdm(range(num_images), desc=f"birds {split}", leave=False, disable=not slow):
        _render(arrays, i, split, image_size, seed)
    return arrays


def _check(split: str, num_images: int, image_size: int, seed: int) -> None:
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    if not 32 <= image_size <= 512:
        raise ConfigError(f"image_size is {image_size}; birds can be drawn from 32 to 512 pixels")
    if num_images < 1:
        raise ConfigError(f"num_images is {num_images}; expected at least 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}; expected 0 or more")


def _render(arrays: BirdArrays, index: int, split: str, size: int, seed: int) -> None:
    """Draw image ``index`` into the arrays."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split), index])))
    if split == "test" and index % UNSEEN_EVERY == 0:
        label = len(SEEN) + int(rng.integers(len(SPECIES) - len(SEEN)))
    else:
        label = int(rng.integers(len(SEEN)))
    species = SPECIES[label]
    pose = draw_pose(rng, species)
    grow, dx, dy = rng.uniform(0, 1, 3).tolist()
    smallest = 0.70 if species.habitat == "wade" else 0.55  # long legs make a long box round a small bird
    figure = place(build_figure(species, pose), pose, smallest + (0.95 - smallest) * grow, (dx, dy))
    light = draw_light(rng)
    colors = _individual_colors(rng, species)
    grain, film = rng.uniform(0, 1, (2, 2)).tolist()
    canvas = Canvas(size)
    scenery = Scenery(canvas, rng, species.habitat, light)
    scenery.behind(figure, pose.flying)
    BirdPainter(canvas, species, pose, figure, colors, light, (grain[0], grain[1])).paint()
    scenery.front(figure, pose.flying)
    light.dapple_window(canvas.whole())
    arrays.images[index] = _develop(canvas, film[0], film[1])
    arrays.parts[index], arrays.labels[index] = canvas.parts, label
    arrays.keypoints[index] = _keypoints(figure, pose, species, canvas.parts)
    arrays.boxes[index] = _box(canvas.parts)


def _individual_colors(rng: np.random.Generator, species: Species) -> dict[str, Color]:
    """The species' colours, a little lighter or darker, redder or bluer from bird to bird."""
    bright, warm = (rng.uniform(-1, 1, 2) * (0.10, 0.05)).tolist()
    gain = ((1 + bright) * (1 + warm), 1 + bright, (1 + bright) * (1 - warm))
    colors = region_colors(species)
    colors["bar"] = rgb(species.wing_bars or "#ffffff")
    return {k: tuple(min(c * g, 1.0) for c, g in zip(v, gain, strict=True)) for k, v in colors.items()}  # type: ignore[misc]


def _develop(canvas: Canvas, grain: float, contrast: float) -> np.ndarray:
    """Picture as (S, S, 3) uint8, with the camera's noise and contrast."""
    window = canvas.whole()
    noise = lookup("fine", window.x * 0.93 + grain, window.y * 0.93 + contrast) - 0.5
    picture = (canvas.rgb - 0.45) * (0.95 + 0.25 * contrast) + 0.47 + noise * 0.035
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)  # (S, S, 3)


def _keypoints(figure: PlacedFigure, pose: Pose, species: Species, parts: np.ndarray) -> np.ndarray:
    """CUB's keypoints (15, 3). A point is visible where a pixel of a part it belongs to shows within two pixels."""
    points, size = dict(figure.points), len(parts)
    # A bird that faces right shows the viewer its right side.
    near, far = ("right", "left") if pose.facing == 1 else ("left", "right")
    hidden = set()
    for name in ("eye", "shin", "wing"):
        for side, depth in ((near, "near"), (far, "far")):
            points[f"{name}_{side}"] = points.get(f"{name}_{depth}", points.get(name, points["body"]))
    if "wing_far" not in figure.points:
        hidden.add(f"wing_{far}")
    hidden |= {f"eye_{s}" for s, d in ((near, "near"), (far, "far")) if not pose.eye_shows(d, species.eye_azimuth)}
    rows = np.zeros((len(KEYPOINTS), 3), np.float32)
    for row, (point, allowed) in zip(rows, KEYPOINTS.values(), strict=True):
        x, y = points[point][0] * size - 0.5, points[point][1] * size - 0.5
        row[:2] = x, y
        row[2] = point not in hidden and _shows(parts, x, y, allowed)
    return rows


def _shows(parts: np.ndarray, x: float, y: float, allowed: tuple[int, ...]) -> bool:
    size, reach = len(parts), max(len(parts) // 64, 1)
    if not (-0.5 <= x <= size - 0.5 and -0.5 <= y <= size - 0.5):
        return False
    column, row = int(x + 0.5), int(y + 0.5)
    patch = parts[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
    return any(bool((patch == part).any()) for part in allowed)


def _box(parts: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero((parts > 0).any(axis=1)), np.flatnonzero((parts > 0).any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)


def _cached(key: str, split: str, num_images: int, image_size: int, seed: int) -> BirdArrays:
    """Arrays of this split, memory-mapped from the cache; rendered where the cache is missing or broken."""
    folder = cache_dir() / f"birds-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"cache {folder} is broken ({error}); it is made again", stacklevel=2)
            shutil.rmtree(folder)
    arrays = generate(split, num_images, image_size, seed)
    _write(folder, arrays, key)
    return _read(folder)


def _read(folder: Path) -> BirdArrays:
    sizes = json.loads((folder / "sizes.json").read_text())
    for name in ARRAYS:
        found = (folder / f"{name}.npy").stat().st_size
        if found != sizes[name]:
            raise ValueError(f"{name}.npy has {found} bytes, expected {sizes[name]}")
    return BirdArrays(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS})


def _write(folder: Path, arrays: BirdArrays, key: str) -> None:
    """Write to a temporary folder first: the cache is complete or not there at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}-{os.getpid()}")
    temporary.mkdir(exist_ok=True)
    for name in ARRAYS:
        np.save(temporary / f"{name}.npy", getattr(arrays, name))
    sizes = {name: (temporary / f"{name}.npy").stat().st_size for name in ARRAYS}
    (temporary / "sizes.json").write_text(json.dumps({**sizes, "key": key}))
    try:
        os.replace(temporary, folder)
    except OSError:  # another process was faster; its content is the same
        shutil.rmtree(temporary)
        if not folder.is_dir():
            raise
