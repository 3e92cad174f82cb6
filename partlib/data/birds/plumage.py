"""Painting a bird onto a canvas, far parts first: colors, feather patterns, markings, light, and the part labels."""

import math
from collections.abc import Callable

import numpy as np

from partlib.data.birds.anatomy import TABLE, Figure, Pattern
from partlib.data.birds.raster import Array, Canvas, Limb, bulge_normals, clamp, ink, smooth_union
from partlib.data.birds.scene import Light
from partlib.data.birds.textures import lookup

PART_NAMES = ("head", "beak", "breast", "back", "wing", "tail", "legs")
HEAD, BEAK, BREAST, BACK, WING, TAIL, LEGS = range(1, 8)


def _band(value: Array, half: float, sharp: float = 7.0) -> Array:
    return clamp((half - np.abs(value)) * sharp + 0.5)


def _above(value: Array) -> Array:
    return clamp(value * 7 + 0.5)


# Weight (h, w) of each marking of the head at f ahead, s aside (both sides alike), u up on a ball of radius 1; n is 0
# where the head meets the torso and grows towards the skull.
MARKS: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "cap": lambda f, s, u, n: _above(u - 0.30 + 0.25 * np.maximum(-f, 0)),
    "mask": lambda f, s, u, n: _band(u - 0.02, 0.30) * _above(f - 0.15),
    "lores": lambda f, s, u, n: _band(u - 0.08, 0.16) * _above(f - 0.45),
    "stripe": lambda f, s, u, n: _band(u - 0.13 - 0.08 * f, 0.12) * _above(f + 0.75),
    "brow": lambda f, s, u, n: _band(u - 0.42, 0.11) * _above(f + 0.55) * _above(s - 0.2),
    "cheek": lambda f, s, u, n: _above(0.34 - np.sqrt((f - 0.02) ** 2 + (u + 0.22) ** 2) * 0.8) * _above(s - 0.3),
    "bib": lambda f, s, u, n: _above(-u - 0.30 + 0.25 * f) * _above(f - 0.12),
    "moustache": lambda f, s, u, n: _band(u + 0.34 + 0.3 * (0.7 - f), 0.11) * _above(f) * _above(s - 0.2),
    "napepatch": lambda f, s, u, n: _above(-f - 0.40) * _above(u - 0.1),
    "forehead": lambda f, s, u, n: _above(f - 0.62) * _above(u - 0.05),
    "eyering": lambda f, s, u, n: _band(np.sqrt((f - 0.5) ** 2 + (u - 0.16) ** 2) - 0.28, 0.07) * _above(s - 0.3),
    "cere": lambda f, s, u, n: _above(0.16 - np.sqrt((f - 0.9) ** 2 + (u - 0.04) ** 2 + 0.3 * s * s)),
    "neckpatch": lambda f, s, u, n: _above(-f - 0.05) * _above(s - 0.45) * _above(-u - 0.15),
    "disc": lambda f, s, u, n: (
        0.9 * _above(f - 0.35) * (1 - 0.6 * _band(np.sqrt((s - 0.36) ** 2 + (u - 0.02) ** 2) - 0.5, 0.05))
    ),
    "collar": lambda f, s, u, n: _band(n - 0.02, 0.035, 30),
    "napeline": lambda f, s, u, n: _band(n - 0.03, 0.03, 30) * _above(0.1 - f),
    "bibline": lambda f, s, u, n: _band(n - 0.03, 0.03, 30) * _above(f + 0.1),
    "collarband": lambda f, s, u, n: _band(n - 0.03, 0.03, 30) * _above(f),
}


class BirdPainter:
    """Paints one figure. ``colors`` are the individual's own, each (3, 1, 1); ``grain`` shifts the textures."""

    def __init__(self, canvas: Canvas, figure: Figure, light: Light, colors: dict[str, Array], grain: list[float]):
        self.canvas, self.figure, self.colors, self.light, self.grain = canvas, figure, colors, light, grain
        self.species, self.pose, self.unit = figure.species, figure.pose, figure.scale

    def paint(self) -> None:
        """The whole bird, from the far side to the near side."""
        self._wing("far")
        for i, limb in enumerate(self.figure.limbs["tail"]):
            self._feather(limb, TAIL, "tail", 0.86 + 0.05 * i, self.species.patterns.get("tail"), "tail_edge")
        self._leg("far")
        looks_away = self.pose.head_yaw < -8 or self.pose.head_yaw > 172
        for draw in (self._beak, self._torso_and_head) if looks_away else (self._torso_and_head, self._beak):
            draw()
        self._leg("near")
        self._wing("near")

    def _feather(self, limb: Limb, part: int, color: str, bright: float, pattern: Pattern | None, tip: str) -> None:
        """One feather: a pale rim, a dark line where it ends, bars or spots along it, a tip of another color."""
        window = self.canvas.window([limb])
        distance, along = window.capsule(limb)
        side, radius = window.across(limb), max(limb[2], limb[5], 1e-4)
        base, rim = self.colors[color], self.colors[tip or "edge"]
        edge_weight = clamp(distance * (2.6 / radius) + 1) * 0.62  # (h, w)
        if tip:
            edge_weight = np.maximum(edge_weight, clamp(along * 9 - 7.6))
        shade = base + edge_weight * (rim - base)  # (3, h, w)
        if pattern is not None:
            name, text, strength = pattern
            wave = np.abs((along * 6.0) % 1.0 * 2 - 1)
            spots, bars = clamp(2.4 - 3.2 * wave) * clamp(np.abs(side * (1 / radius)) * 4 - 1), clamp(1.6 - 3.2 * wave)
            shade = shade + ((spots if name == "spots" else bars) * strength) * (ink(text) - shade)
        grain = lookup("barbs", along * 0.22 + self.grain[0] + limb[1], side * (0.9 / self.unit))
        outline = clamp(distance * (0.75 * self.canvas.size) + 1.6) * 0.34  # dark, about a pixel and a half
        tone = (0.84 + 0.3 * grain) * (1 - outline) * bright
        window.paint(distance, shade * tone * self.light.flat(), part)

    def _wing(self, side: str) -> None:
        """A folded wing hides the far one."""
        limbs, pattern = self.figure.limbs, self.species.patterns.get("wing")
        if self.pose.wing == "raised":
            bright = 1.0 if side == "near" else 0.8
            if side == "near":
                self._shadow(limbs["arm_near"])
            for i, limb in enumerate(limbs[f"fan_{side}"]):
                self._feather(limb, WING, "flight", bright * (0.9 + 0.02 * (i % 2)), pattern, "")
            self._coverts(limbs[f"arm_{side}"], bright)
        elif side == "near":
            self._shadow(limbs["primaries"] + limbs["secondaries"] + limbs["coverts"])
            # Flight feathers carry the pattern, coverts the pale bars.
            details = {"flight": (pattern, ""), "wing": (None, "bar" if "bar" in self.colors else "")}
            for name, row in TABLE["wing"].items():
                for i, limb in enumerate(limbs[name]):
                    self._feather(limb, WING, row["color"], row["bright"] + 0.03 * i, *details[row["color"]])
            self._coverts(limbs["wing_shoulder"], 1.0)

    def _coverts(self, limbs: list[Limb], bright: float) -> None:
        """The small feathers at the front of a wing: a smooth pad with a scaly texture."""
        window = self.canvas.window(limbs)
        distance = window.union(limbs, 0.05 * self.unit)
        u, v = window.frame(self.figure.points, "body")
        scales = lookup("scales", u * 0.16 + self.grain[0], v * 0.2 + self.grain[1])
        color = self.colors["wing"]
        color = color + clamp(scales * 1.6 - 1.0) * 0.5 * (self.colors["edge"] - color)  # (3, h, w)
        if "wing" in self.species.patterns:
            name, text, strength = self.species.patterns["wing"]
            dots = lookup("spots" if name == "spots" else "bars", u * 0.18 + self.grain[1], v * 0.2)
            color = color + dots * strength * 0.8 * (ink(text) - color)
        color = color * self.light.flat() * (bright * (0.82 + 0.28 * scales))
        window.paint(distance + 0.02 * self.unit, color, soft=0.06 * self.unit)
        window.parts[distance < 0] = WING

    def _shadow(self, limbs: list[Limb]) -> None:
        """Soft shadow that a wing throws on the flank below it."""
        reach = 0.10 * self.unit
        shifted: list[Limb] = [(ax, ay + 0.3 * reach, ra, bx, by + 0.3 * reach, rb) for ax, ay, ra, bx, by, rb in limbs]
        window = self.canvas.window(shifted, reach)
        amount = clamp(0.75 - window.union(shifted, 0.02) * (1 / reach)) * 0.42
        window.rgb *= 1 - amount * (window.parts > 0)

    def _torso_and_head(self) -> None:
        """Torso, neck and head as one smooth shape; the parts are regions of it."""
        limbs, unit = self.figure.limbs, self.unit
        lower = limbs["torso"] + limbs["neck_low"] + ([] if self.pose.flying else limbs["thigh_near"])
        upper = limbs["neck_high"] + limbs["skull"] + limbs.get("crest", [])
        window = self.canvas.window(lower + upper, 0.02)
        torso, head = window.union(lower, 0.12 * unit), window.union(upper, 0.05 * unit)
        distance = smooth_union(torso, head, 0.10 * unit)
        dorsal, nearer_head = self._dorsal(window), torso - head  # > 0 on the side of the back, in the head
        u, v = window.frame(self.figure.points, "body")
        # Unlit colors (3, h, w) of breast and belly, of back and rump, with their patterns.
        c, patterns = self.colors, self.species.patterns
        below = c["belly"] + clamp(u * 0.9 + 0.2 * v + 0.45) * (c["breast"] - c["belly"])
        below = self._pattern(below, patterns.get("breast"), u, v, clamp(u * 0.8 + 1.1))
        above = c["back"] + clamp(-u * 1.6 - 1.1) * (c["rump"] - c["back"])
        above = self._pattern(above, patterns.get("back"), u, v, 1.0)
        color = below + clamp(dorsal * (7 / unit) + 0.5) * (above - below)
        color *= 1 - 0.22 * clamp(1 + nearer_head * (7 / unit))  # the head's shadow on the shoulders
        weight = clamp(nearer_head * (10 / unit) + 0.5)
        color += weight * (self._head_colors(window, nearer_head * (1 / unit)) - color)
        grain = lookup("barbs", u * 0.20 + self.grain[0], v * 0.16 + self.grain[1])
        down = lookup("scales", u * 0.11 + self.grain[1], v * 0.13 + self.grain[0])
        normals = bulge_normals(distance, self.canvas.size, 0.30 * unit)
        color *= self.light.shade(normals) * (0.80 + 0.28 * grain + 0.12 * down)
        window.paint(distance + (grain - 0.5) * (0.012 * unit), color)  # plumage has no knife edge; colors only
        regions, inside = np.where(nearer_head > 0, HEAD, np.where(dorsal > 0, BACK, BREAST)), distance < 0
        window.parts[inside] = regions[inside]
        self._eyes()

    def _dorsal(self, window: Canvas) -> Array:
        """Signed distance (h, w) to the line root of the tail - withers - head; positive on the side of the back."""
        root, withers, head = (self.figure.points[name] for name in ("root", "withers", "head"))
        px, py = window.x - withers.real, window.y - withers.imag
        lines = [withers - root, head - withers]
        lines = [line / max(math.sqrt(line.real * line.real + line.imag * line.imag), 1e-6) for line in lines]
        behind, ahead = ((px * line.imag - py * line.real) * self.pose.facing for line in lines)
        both = lines[0] + lines[1]  # points ahead, between the two
        return np.where(px * both.real + py * both.imag > 0, ahead, behind)

    def _pattern(self, color: Array, pattern: Pattern | None, u: Array, v: Array, where: Array | float) -> Array:
        """``color`` (3, h, w) with a pattern in body coordinates u, v laid over it, as strong as ``where`` says."""
        if pattern is None:
            return color
        name, text, strength = pattern
        size, shift = (0.3, 0.0) if name == "fine" else (0.25, self.grain[1])
        midline = name == "midline"  # along the edge of the body
        amount = clamp((np.abs(v) - 0.62) * 6) if midline else lookup(name, u * size + self.grain[0], v * size + shift)
        return color + amount * where * strength * (ink(text) - color)

    def _head_colors(self, window: Canvas, neck: Array) -> Array:
        """Unlit colors (3, h, w) of the head, whose markings sit on a ball and turn with it; ``neck`` is n of MARKS."""
        right, up = window.frame(self.figure.points, "head")
        # Back-project the pixel onto a ball, then turn the ball so that f points along the beak, s to the near side.
        outside = np.maximum(right * right + up * up, 1.0)
        right, up = right / outside, up / outside
        depth = np.sqrt(np.maximum(1 - right * right - up * up, 0))
        cos, sin = math.cos(math.radians(self.pose.head_yaw)), math.sin(math.radians(self.pose.head_yaw))
        f, s = right * cos + depth * sin, np.abs(depth * cos - right * sin)
        c = self.colors
        color = c["face"] + clamp((up - 0.34 + 0.1 * f) * 5 + 0.5) * (c["crown"] - c["face"])  # (3, h, w)
        color += clamp((-f - 0.35 + 0.2 * up) * 5 + 0.5) * (c["nape"] - color)
        color += clamp((-up - 0.38 + 0.35 * f - 0.2 * s) * 5 + 0.5) * (c["throat"] - color)
        for name, text in self.species.marks.items():
            color += MARKS[name](f, s, up, neck) * (ink(text) - color)
        return color

    def _eyes(self) -> None:
        """The eyes that can be seen, on pixels of the head only: lid, iris, pupil and a highlight."""
        points = self.figure.points
        head, towards_sun = max(abs(points["head_y"] - points["head"]), 1e-4), complex(*self.light.direction[:2])
        lid, iris, pupil = self.colors["eyelid"], self.colors["eye"], ink((0.04, 0.035, 0.03))
        for side, showing in self.pose.showing.items():
            if showing < 0.12:
                continue
            radius = self.species.eye * head * (0.75 + 0.25 * showing)
            squeeze = radius * (1 - showing)
            for scale, color, shift in ((1.22, lid, 0), (1.0, iris, 0), (0.62, pupil, 0), (0.26, ink("#ffffff"), 0.35)):
                r, half = (radius - 0.62 * squeeze) * scale, 0.6 * squeeze * scale
                at = points[f"eye_{side}"] + shift * towards_sun * radius
                limb = (at.real, at.imag - half, r, at.real, at.imag + half, r)
                window = self.canvas.window([limb])
                window.paint(window.capsule(limb)[0], color, opacity=window.parts == HEAD)

    def _beak(self) -> None:
        for name, color, bright in (("beak_lower", "beak_low", 0.78), ("beak_upper", "beak", 1.05)):
            limbs = self.figure.limbs[name]
            window = self.canvas.window(limbs)
            distance = window.union(limbs, 0.01 * self.unit)
            shade = self.light.shade(bulge_normals(distance, self.canvas.size, 0.06 * self.unit)) * bright
            rim = 1 - 0.3 * clamp(distance * self.canvas.size + 1.4)
            window.paint(distance, self.colors[color] * shade * rim, BEAK)

    def _leg(self, side: str) -> None:
        bright = 1.0 if side == "near" else 0.72
        for limb in [] if self.pose.flying else self.figure.limbs[f"leg_{side}"]:
            window = self.canvas.window([limb])
            distance, along = window.capsule(limb)
            round_ = 0.72 + 0.4 * clamp(-distance * (1.6 / max(limb[2], 1e-4)))
            scales = 0.9 + 0.15 * (np.abs((along * 7) % 1 - 0.5) > 0.2)
            window.paint(distance, self.colors["legs"] * self.light.flat(0.8) * (round_ * scales * bright), LEGS)
