"""Colours of the head: markings that sit on a ball and turn with it, and the eyes."""

import math
from typing import TYPE_CHECKING

import numpy as np

from partlib.data.birds.raster import Window, capsule, clamp, frame_coordinates, ink
from partlib.data.birds.species import rgb

if TYPE_CHECKING:
    from partlib.data.birds.plumage import BirdPainter


def head_colors(painter: "BirdPainter", window: Window, neck: np.ndarray) -> np.ndarray:
    """Unlit colours (3, h, w) of the head. ``neck`` is 0 where the head meets the torso and grows towards the skull."""
    points, pose = painter.figure.points, painter.pose
    right, up = frame_coordinates(window, points["head"], points["head_x"], points["head_y"])
    # Back-project the pixel onto a ball, then turn the ball so that f points along the beak, s to the near side.
    outside = np.maximum(right * right + up * up, 1.0)
    right, up = right / outside, up / outside
    depth = np.sqrt(np.maximum(1 - right * right - up * up, 0))
    cos, sin = math.cos(math.radians(pose.head_yaw)), math.sin(math.radians(pose.head_yaw))
    f, s = right * cos + depth * sin, np.abs(depth * cos - right * sin)
    c = {k: ink(x) for k, x in painter.colors.items()}

    def soft(value: np.ndarray) -> np.ndarray:
        return clamp(value * 5 + 0.5)

    color = np.broadcast_to(c["face"], (3, *f.shape)).copy()
    for region, weight in (
        ("crown", soft(up - 0.34 + 0.1 * f)),
        ("nape", soft(-f - 0.35 + 0.2 * up)),
        ("throat", soft(-up - 0.38 + 0.35 * f - 0.2 * s)),
    ):
        color += weight * (c[region] - color)
    for name, text in painter.species.marks:
        color += _mark(name, f, s, up, neck) * (ink(rgb(text)) - color)
    return color


def _mark(name: str, f: np.ndarray, s: np.ndarray, u: np.ndarray, neck: np.ndarray) -> np.ndarray:
    """Weight (h, w) of a marking at f ahead, s aside (both sides alike), u up on a ball of radius 1."""

    def band(value: np.ndarray, half: float, sharp: float = 7.0) -> np.ndarray:
        return clamp((half - np.abs(value)) * sharp + 0.5)

    def above(value: np.ndarray) -> np.ndarray:
        return clamp(value * 7 + 0.5)

    if name == "cap":
        return above(u - 0.30 + 0.25 * np.maximum(-f, 0))
    if name == "mask":
        return band(u - 0.02, 0.30) * above(f - 0.15)
    if name == "lores":
        return band(u - 0.08, 0.16) * above(f - 0.45)
    if name == "stripe":
        return band(u - 0.13 - 0.08 * f, 0.12) * above(f + 0.75)
    if name == "brow":
        return band(u - 0.42, 0.11) * above(f + 0.55) * above(s - 0.2)
    if name == "cheek":
        return above(0.34 - np.sqrt((f - 0.02) ** 2 + (u + 0.22) ** 2) * 0.8) * above(s - 0.3)
    if name == "bib":
        return above(-u - 0.30 + 0.25 * f) * above(f - 0.12)
    if name == "moustache":
        return band(u + 0.34 + 0.3 * (0.7 - f), 0.11) * above(f) * above(s - 0.2)
    if name == "napepatch":
        return above(-f - 0.40) * above(u - 0.1)
    if name == "forehead":
        return above(f - 0.62) * above(u - 0.05)
    if name == "eyering":
        return band(np.sqrt((f - 0.5) ** 2 + (u - 0.16) ** 2) - 0.28, 0.07) * above(s - 0.3)
    if name == "cere":
        return above(0.16 - np.sqrt((f - 0.9) ** 2 + (u - 0.04) ** 2 + 0.3 * s * s))
    if name == "neckpatch":
        return above(-f - 0.05) * above(s - 0.45) * above(-u - 0.15)
    if name == "disc":
        rim = np.sqrt((s - 0.36) ** 2 + (u - 0.02) ** 2)
        return 0.9 * above(f - 0.35) * (1 - 0.6 * band(rim - 0.5, 0.05))
    if name == "collar":
        return band(neck - 0.02, 0.035, 30)
    if name in ("napeline", "bibline", "collarband"):
        side = {"napeline": above(0.1 - f), "bibline": above(f + 0.1), "collarband": above(f)}[name]
        return band(neck - 0.03, 0.03, 30) * side
    raise KeyError(f"no such mark: {name}")


def paint_eyes(painter: "BirdPainter", part: int) -> None:
    """The eyes that can be seen, on pixels of ``part`` only: lid, iris, pupil and a highlight."""
    from_front = painter.species.eye_azimuth
    points, canvas = painter.figure.points, painter.canvas
    (hx, hy), (ux, uy) = points["head"], points["head_y"]
    head = max(((ux - hx) ** 2 + (uy - hy) ** 2) ** 0.5, 1e-4)
    red, green, blue = (0.12 + 0.6 * v for v in painter.colors["face"])
    lid = (red, green, blue)
    for side, sign in (("near", 1), ("far", -1)):
        showing = math.sin(math.radians(painter.pose.head_yaw + sign * from_front))
        if showing < 0.12:
            continue
        x, y = points[f"eye_{side}"]
        radius = painter.species.eye * head * (0.75 + 0.25 * showing)
        squeeze = radius * (1 - showing)
        light = painter.light
        for scale, color, dx, dy in (
            (1.22, lid, 0.0, 0.0),
            (1.0, painter.colors["eye"], 0.0, 0.0),
            (0.62, (0.04, 0.035, 0.03), 0.0, 0.0),
            (0.26, (1.0, 1.0, 1.0), 0.35 * light.direction[0], 0.35 * light.direction[1]),
        ):
            r = (radius - 0.62 * squeeze) * scale
            ex, ey = x + dx * radius, y + dy * radius
            limb = (ex, ey - 0.6 * squeeze * scale, r, ex, ey + 0.6 * squeeze * scale, r)
            window = canvas.window([limb])
            if window is not None:
                on_head = canvas.parts[window.rows, window.cols] == part
                window.paint(window.coverage(capsule(window, limb)) * on_head, color)
