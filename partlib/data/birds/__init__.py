"""The embedded data set: procedural birds with exact part masks and CUB's 15 keypoints; nothing is downloaded.

How bird ``i`` of a split is drawn, from ``(seed, split, i)`` alone:

1. ``anatomy``: a species (a block of ``birds.json``), a pose and the bird's own shades of color are drawn at random;
   species and pose become a figure of capsules and named points, somewhere in the picture.
2. ``scene``: light, backdrop, leaves and what the bird stands on (tones in ``scenery.json``).
3. ``plumage``: the bird on top, far parts first; whatever paints a pixel writes its part label too.
4. ``scene``: leaves, grass or water in front of the bird take their pixels away from it.
5. Here: the camera's noise and contrast; keypoints and box follow from the figure and from the labels that are left.

Shapes are signed distances (``raster``), surfaces gray ``textures``; only colors may differ from machine to machine.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from partlib.data.base import SPLITS, ArrayDataset
from partlib.data.birds.anatomy import SEEN, SPECIES, TABLE, Figure, Pose, draw_colors
from partlib.data.birds.plumage import PART_NAMES, BirdPainter
from partlib.data.birds.raster import Canvas
from partlib.data.birds.scene import Light, Scenery
from partlib.data.birds.textures import lookup
from partlib.distributed import progress_bar
from partlib.errors import ConfigError
from partlib.paths import cached_arrays, save_array

VERSION = 1  # raise it whenever a picture changes: caches and fingerprints depend on it
DEFAULT_IMAGES = {"train": 600, "val": 100, "test": 200}
LABEL_NAMES = tuple(species.name for species in SPECIES)
UNSEEN_LABELS = tuple(range(len(SEEN), len(SPECIES)))
# CUB-200-2011's keypoints in its order -> numbers of the parts whose pixels may show there
KEYPOINTS = {name: tuple(PART_NAMES.index(part) + 1 for part in parts) for name, parts in TABLE["keypoints"].items()}


def load(split: str, root: Path | None, image_size: int, num_images: int | None = None, seed: int = 0) -> ArrayDataset:
    """One split of the birds, rendered on first use and read from the cache afterwards; ``root`` is unused."""
    num_images = DEFAULT_IMAGES[split] if num_images is None else num_images
    for option, value, least in (("image_size", image_size, 32), ("num_images", num_images, 1), ("seed", seed, 0)):
        if value < least:
            raise ConfigError(f"{option} is {value}; the birds need at least {least}")

    def make(folder: Path) -> None:
        for name, array in generate(split, num_images, image_size, seed).items():
            save_array(folder / f"{name}.npy", array)

    key = f"v{VERSION}-{split}-{num_images}x{image_size}-seed{seed}"
    arrays: dict[str, Any] = cached_arrays("birds", key, make)
    names = [f"{split}-{seed}-{i:06d}" for i in range(num_images)]
    known: dict[str, Any] = {"part_names": PART_NAMES, "keypoint_names": tuple(KEYPOINTS), "label_names": LABEL_NAMES}
    known |= {"name": "birds", "split": split, "digest": f"birds-{key}", "unseen_labels": UNSEEN_LABELS}
    return ArrayDataset(**arrays, **known, masks=None, names=names)


def generate(split: str, num_images: int, image_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Render N birds of S by S pixels; the first of many are those of a few, another size shows the same scenes."""
    arrays: dict[str, np.ndarray] = {
        "images": np.empty((num_images, image_size, image_size, 3), np.uint8),  # RGB
        "parts": np.empty((num_images, image_size, image_size), np.uint8),  # 0 background, 1..7 index PART_NAMES
        "keypoints": np.empty((num_images, len(KEYPOINTS), 3), np.float32),  # x, y, visible; (0, 0) is a pixel's center
        "labels": np.empty(num_images, np.int64),  # index LABEL_NAMES
        "boxes": np.empty((num_images, 4), np.float32),  # x, y, width, height of the visible bird in whole pixels
    }
    slow = num_images * image_size * image_size > 100 * 128 * 128  # more than about a second of work
    draw = partial(_render, split=split, size=image_size, seed=seed)
    # numpy lets go of the interpreter while it paints, which keeps two threads busy; 16 take four times longer than
    # one. Closing gives up the rest where the user interrupts.
    with ThreadPoolExecutor(2) as threads, closing(threads.map(draw, range(num_images))) as drawn:  # type: ignore[type-var]
        for i, values in enumerate(progress_bar(drawn, f"birds {split}", num_images, leave=False, shown=slow)):
            for array, value in zip(arrays.values(), values, strict=True):
                array[i] = value
    return arrays


def _render(index: int, split: str, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, tuple]:
    """Image ``index``, its parts, keypoints, label and box."""
    # What is drawn at random, always in this order. Every third test image shows a species that no other split has.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, SPLITS.index(split), index])))
    unseen = split == "test" and index % 3 == 0
    label = int(len(SEEN) + rng.integers(len(UNSEEN_LABELS)) if unseen else rng.integers(len(SEEN)))
    pose = Pose(rng, species := SPECIES[label])
    grow, *shift = rng.uniform(0, 1, 3).tolist()
    smallest = 0.70 if species.habitat == "wade" else 0.55  # long legs make a long box round a small bird
    figure = Figure(species, pose, smallest + (0.95 - smallest) * grow, shift)
    light, colors = Light(rng), draw_colors(rng, species)
    grain, (speckle, contrast) = rng.uniform(0, 1, (2, 2)).tolist()
    # The picture, from back to front.
    centers = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size))[None]  # (1, S)
    canvas = Canvas(size, np.zeros((3, size, size), np.float32), np.zeros((size, size), np.uint8), centers, centers.T)
    scenery = Scenery(canvas, rng, light, figure)
    scenery.behind()
    BirdPainter(canvas, figure, light, colors, grain).paint()
    scenery.front()
    # The camera.
    noise = lookup("fine", canvas.x * 0.93 + speckle, canvas.y * 0.93 + contrast) - 0.5
    picture = (canvas.rgb - 0.45) * (0.95 + 0.25 * contrast) + 0.47 + noise * 0.035
    image = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)  # (S, S, 3)
    y, x = canvas.parts.nonzero()
    box = x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1
    return image, canvas.parts, _keypoints(figure, canvas.parts), label, box


def _keypoints(figure: Figure, parts: np.ndarray) -> np.ndarray:
    """CUB's keypoints (15, 3): visible where a part of theirs shows within S / 64 pixels; all at their true places."""
    points, hidden, pose = dict(figure.points), set(), figure.pose
    # A bird that faces right shows the viewer its right side.
    for side, depth in zip(("right", "left")[:: pose.facing], ("near", "far"), strict=True):
        points |= {f"{side} {organ}": points[f"{organ}_{depth}"] for organ in ("eye", "leg", "wing")}
        if pose.showing[depth] <= 0.12:
            hidden.add(f"{side} eye")
        if depth == "far" and pose.wing != "raised":
            hidden.add(f"{side} wing")
    rows = np.zeros((len(KEYPOINTS), 3), np.float32)
    size, reach = len(parts), max(len(parts) // 64, 1)
    for row, (name, allowed) in zip(rows, KEYPOINTS.items(), strict=True):
        x, y = points[name].real * size - 0.5, points[name].imag * size - 0.5
        left, top = max(int(x + 0.5) - reach, 0), max(int(y + 0.5) - reach, 0)
        near = parts[top : int(y + 0.5) + reach + 1, left : int(x + 0.5) + reach + 1]
        inside = min(x, y) >= -0.5 and max(x, y) <= size - 0.5
        row[:] = x, y, inside and name not in hidden and not set(allowed).isdisjoint(near.flat)
    return rows
