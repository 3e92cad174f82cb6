"""Painting a bird onto a canvas, far parts first: colours, feather patterns, light, and the part labels."""

import math

import numpy as np

from partlib.data.birds.anatomy import PlacedFigure
from partlib.data.birds.head import head_colors, paint_eyes
from partlib.data.birds.light import Light
from partlib.data.birds.pose import Pose
from partlib.data.birds.raster import (
    Canvas,
    Color,
    Limb,
    Window,
    across,
    bulge_normals,
    capsule_frame,
    clamp,
    frame_coordinates,
    ink,
    smooth_union,
    union,
)
from partlib.data.birds.species import Pattern, Species, rgb
from partlib.data.birds.textures import lookup

PART_NAMES = ("head", "beak", "breast", "back", "wing", "tail", "legs")
HEAD, BEAK, BREAST, BACK, WING, TAIL, LEGS = range(1, 8)


class BirdPainter:
    """Paints one placed figure. Colours are the individual's own, in [0, 1] RGB."""

    def __init__(
        self,
        canvas: Canvas,
        species: Species,
        pose: Pose,
        figure: PlacedFigure,
        colors: dict[str, Color],
        light: Light,
        grain: tuple[float, float],
    ) -> None:
        self.canvas, self.species, self.pose, self.figure = canvas, species, pose, figure
        self.colors, self.light, self.grain = colors, light, grain
        self.unit = figure.scale  # one torso length in image sides

    def paint(self) -> None:
        """The whole bird, from the far side to the near side."""
        raised = self.pose.wing == "raised"
        looks_away = self.pose.head_yaw < -8 or self.pose.head_yaw > 172
        if raised:
            self._raised_wing("far")
        self._tail()
        if not self.pose.flying:
            self._leg("far")
        if looks_away:
            self._beak()
        self._torso_and_head()
        if not looks_away:
            self._beak()
        if not self.pose.flying:
            self._leg("near")
        if raised:
            self._raised_wing("near")
        else:
            self._folded_wing()

    # -- feathers ------------------------------------------------------------------------------------------------

    def _feather(
        self,
        limb: Limb,
        part: int,
        color: str,
        edge: str,
        bright: float = 1.0,
        pattern: Pattern | None = None,
        tip: str | None = None,
    ) -> None:
        """One feather: a pale rim, a dark line where it ends, bars or spots along it, a tip of another colour."""
        window = self.canvas.window([limb])
        if window is None:
            return
        distance, along = capsule_frame(window, limb)
        side, radius = across(window, limb), max(limb[2], limb[5], 1e-4)
        base, rim = ink(self.colors[color]), ink(self.colors[edge if tip is None else tip])
        edge_weight = clamp(distance * (2.6 / radius) + 1) * 0.62  # (h, w)
        if tip is not None:
            edge_weight = np.maximum(edge_weight, clamp(along * 9 - 7.6))
        shade = base + edge_weight * (rim - base)  # (3, h, w)
        if pattern is not None:
            name, text, strength = pattern
            stripes = self._along_pattern(name, along, side * (1 / radius))
            shade = shade + (stripes * strength) * (ink(rgb(text)) - shade)
        grain = lookup("barbs", along * 0.22 + self.grain[0] + limb[1], side * (0.9 / self.unit))
        outline = clamp(distance * (0.75 * self.canvas.size) + 1.6) * 0.34  # dark, about a pixel and a half
        tone = (0.84 + 0.3 * grain) * (1 - outline) * bright
        window.paint(window.coverage(distance), shade * tone * self.light.flat())
        window.label(distance < 0, part)

    def _along_pattern(self, name: str, along: np.ndarray, side: np.ndarray) -> np.ndarray:
        wave = np.abs((along * 6.0) % 1.0 * 2 - 1)
        if name == "spots":
            return clamp(2.4 - 3.2 * wave) * clamp(np.abs(side) * 4 - 1)
        return clamp(1.6 - 3.2 * wave)

    def _tail(self) -> None:
        for index, limb in enumerate(self.figure.limbs["tail"]):
            bright = 0.86 + 0.05 * index
            self._feather(
                limb, TAIL, "tail", "edge" if index > 3 else "tail_edge", bright, self.species.tail_pattern, "tail_edge"
            )

    def _folded_wing(self) -> None:
        limbs, bars = self.figure.limbs, self.species.wing_bars
        everything = [limb for name in ("primaries", "secondaries", "coverts") for limb in limbs[name]]
        self._shadow(everything)
        for index, limb in enumerate(limbs["primaries"]):
            self._feather(limb, WING, "flight", "edge", 0.88 + 0.03 * index, self.species.wing_pattern)
        for index, limb in enumerate(limbs["secondaries"]):
            self._feather(limb, WING, "flight", "edge", 0.94 + 0.03 * index, self.species.wing_pattern)
        for index, limb in enumerate(limbs["coverts"]):
            self._feather(limb, WING, "wing", "edge", 0.96 + 0.03 * index, None, "bar" if bars else None)
        for index, limb in enumerate(limbs["median"]):
            self._feather(limb, WING, "wing", "edge", 0.98 + 0.03 * index, None, "bar" if bars else None)
        self._coverts(limbs["wing_shoulder"])

    def _raised_wing(self, side: str) -> None:
        limbs, bright = self.figure.limbs, 1.0 if side == "near" else 0.8
        if side == "near":
            self._shadow(limbs["arm_near"])
        for index, limb in enumerate(limbs[f"fan_{side}"]):
            self._feather(limb, WING, "flight", "edge", bright * (0.9 + 0.02 * (index % 2)), self.species.wing_pattern)
        self._coverts(limbs[f"arm_{side}"], bright)

    def _coverts(self, limbs: list[Limb], bright: float = 1.0) -> None:
        """The small feathers at the front of a wing: a smooth pad with a scaly texture."""
        window = self.canvas.window(limbs)
        if window is None:
            return
        distance = union(window, limbs, 0.05 * self.unit)
        u, v = self._body_frame(window)
        scales = lookup("scales", u * 0.16 + self.grain[0], v * 0.2 + self.grain[1])
        color = ink(self.colors["wing"])
        edge = ink(self.colors["edge"])
        color = color + clamp(scales * 1.6 - 1.0) * 0.5 * (edge - color)  # (3, h, w)
        if self.species.wing_pattern is not None:
            name, text, strength = self.species.wing_pattern
            dots = lookup("spots" if name == "spots" else "bars", u * 0.18 + self.grain[1], v * 0.2)
            color = color + dots * strength * 0.8 * (ink(rgb(text)) - color)
        window.paint(
            window.coverage(distance + 0.02 * self.unit, 0.06 * self.unit),
            color * self.light.flat() * (bright * (0.82 + 0.28 * scales)),
        )
        window.label(distance < 0, WING)

    def _shadow(self, limbs: list[Limb]) -> None:
        """Soft shadow that a wing throws on the flank below it."""
        reach = 0.10 * self.unit
        shifted = [(ax, ay + 0.3 * reach, ra, bx, by + 0.3 * reach, rb) for ax, ay, ra, bx, by, rb in limbs]
        window = self.canvas.window(shifted, reach)
        if window is None:
            return
        distance = union(window, shifted, 0.02)
        amount = clamp(0.75 - distance * (1 / reach)) * 0.42
        window.darken(amount, self.canvas.parts[window.rows, window.cols] > 0)

    # -- torso and head ------------------------------------------------------------------------------------------

    def _body_frame(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        points = self.figure.points
        return frame_coordinates(window, points["body"], points["body_x"], points["body_y"])

    def _dorsal(self, window: Window) -> np.ndarray:
        """Signed distance (h, w) to the line root of the tail - withers - head; positive on the side of the back."""
        points, facing = self.figure.points, self.pose.facing
        (rx, ry), (wx, wy), (hx, hy) = points["root"], points["withers"], points["head"]

        def unit(x: float, y: float) -> tuple[float, float]:
            norm = max(math.sqrt(x * x + y * y), 1e-6)
            return x / norm, y / norm

        rear, front = unit(wx - rx, wy - ry), unit(hx - wx, hy - wy)
        px, py = window.x - wx, window.y - wy
        behind = (px * rear[1] - py * rear[0]) * facing
        ahead = (px * front[1] - py * front[0]) * facing
        middle = (rear[0] + front[0], rear[1] + front[1])
        return np.where(px * middle[0] + py * middle[1] > 0, ahead, behind)

    def _torso_and_head(self) -> None:
        """Torso, neck and head as one smooth shape; the parts are regions of it."""
        limbs, unit = self.figure.limbs, self.unit
        lower = limbs["torso"] + limbs["neck_low"] + ([] if self.pose.flying else limbs["thigh_near"])
        upper = limbs["neck_high"] + limbs["skull"] + limbs.get("crest", [])
        window = self.canvas.window(lower + upper, 0.02)
        if window is None:
            return
        torso, head = union(window, lower, 0.12 * unit), union(window, upper, 0.05 * unit)
        distance = smooth_union(torso, head, 0.10 * unit)
        dorsal = self._dorsal(window)
        inside = distance < 0
        nearer_head = torso - head  # > 0 in the head
        part = np.where(nearer_head > 0, HEAD, np.where(dorsal > 0, BACK, BREAST))
        color = self._torso_colors(window, dorsal)
        color *= 1 - 0.22 * clamp(1 + nearer_head * (7 / unit))  # the head's shadow on the shoulders
        weight = clamp(nearer_head * (10 / unit) + 0.5)
        color += weight * (head_colors(self, window, nearer_head * (1 / unit)) - color)
        u, v = self._body_frame(window)
        grain = lookup("barbs", u * 0.20 + self.grain[0], v * 0.16 + self.grain[1])
        down = lookup("scales", u * 0.11 + self.grain[1], v * 0.13 + self.grain[0])
        normals = bulge_normals(distance, self.canvas.size, 0.30 * unit)
        color *= self.light.shade(normals) * (0.80 + 0.28 * grain + 0.12 * down)
        ragged = distance + (grain - 0.5) * (0.012 * unit)  # plumage has no knife edge; colours only
        window.paint(window.coverage(ragged), color)
        window.label(inside, part)
        paint_eyes(self, HEAD)

    def _torso_colors(self, window: Window, dorsal: np.ndarray) -> np.ndarray:
        """Unlit colours (3, h, w) of breast, belly, back and rump with their patterns."""
        u, v = self._body_frame(window)
        c = {k: ink(x) for k, x in self.colors.items()}  # (3, 1, 1)
        front = clamp(u * 0.9 + 0.2 * v + 0.45)
        below = c["belly"] + front * (c["breast"] - c["belly"])  # (3, h, w)
        species = self.species
        if species.breast_pattern is not None:
            below = self._pattern(below, species.breast_pattern, u, v, clamp(u * 0.8 + 1.1))
        above = c["back"] + clamp(-u * 1.6 - 1.1) * (c["rump"] - c["back"])
        if species.back_pattern is not None:
            above = self._pattern(above, species.back_pattern, u, v, 1.0)
        weight = clamp(dorsal * (7 / self.unit) + 0.5)
        return below + weight * (above - below)

    def _pattern(
        self, color: np.ndarray, pattern: Pattern, u: np.ndarray, v: np.ndarray, where: np.ndarray | float
    ) -> np.ndarray:
        """``color`` (3, h, w) with a pattern in body coordinates u, v laid over it, as strong as ``where`` says."""
        name, text, strength = pattern
        if name == "midline":  # along the edge of the body
            amount = clamp((np.abs(v) - 0.62) * 6)
        elif name == "fine":
            amount = lookup("fine", u * 0.3 + self.grain[0], v * 0.3)
        else:
            amount = lookup(name, u * 0.25 + self.grain[0], v * 0.25 + self.grain[1])
        return color + amount * where * strength * (ink(rgb(text)) - color)

    # -- beak and legs -------------------------------------------------------------------------------------------

    def _beak(self) -> None:
        limbs = self.figure.limbs
        for name, color, bright in (("beak_lower", "beak_low", 0.78), ("beak_upper", "beak", 1.05)):
            window = self.canvas.window(limbs[name])
            if window is None:
                continue
            distance = union(window, limbs[name], 0.01 * self.unit)
            shade = self.light.shade(bulge_normals(distance, self.canvas.size, 0.06 * self.unit)) * bright
            rim = 1 - 0.3 * clamp(distance * self.canvas.size + 1.4)
            window.paint(window.coverage(distance), ink(self.colors[color]) * shade * rim)
            window.label(distance < 0, BEAK)

    def _leg(self, side: str) -> None:
        limbs = self.figure.limbs
        for name in (f"leg_{side}", f"toes_{side}"):
            bright = 1.0 if side == "near" else 0.72
            for limb in limbs[name]:
                window = self.canvas.window([limb])
                if window is None:
                    continue
                distance, along = capsule_frame(window, limb)
                round_ = 0.72 + 0.4 * clamp(-distance * (1.6 / max(limb[2], 1e-4)))
                scales = 0.9 + 0.15 * (np.abs((along * 7) % 1 - 0.5) > 0.2)
                color = ink(self.colors["legs"]) * self.light.flat(0.8)
                window.paint(window.coverage(distance), color * (round_ * scales * bright))
                window.label(distance < 0, LEGS)
