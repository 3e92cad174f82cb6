"""From a species and a pose to geometry: capsules for every limb, and named points.

Points are complex numbers x + iy with y up and the bird facing right, so that turning a vector is a multiplication.
The unit is the length of the torso. :func:`place` then mirrors, tilts, scales and shifts the finished figure into the
picture and rounds every number to a fixed grid: trigonometric functions may differ in their last bit from machine to
machine, the rounded figure does not.
"""

import math
from dataclasses import dataclass

from partlib.data.birds.raster import Limb, Point, on_grid
from partlib.data.birds.species import Pose, Species, direction

Segment = tuple[complex, float, complex, float]  # a, radius at a, b, radius at b


@dataclass(frozen=True)
class PlacedFigure:
    """A figure in picture coordinates (unit: image side, y down), rounded to the grid."""

    species: Species
    pose: Pose
    limbs: dict[str, list[Limb]]
    points: dict[str, Point]
    scale: float  # image sides per torso length


class Figure:
    """Geometry of a bird of ``species`` in ``pose``, in torso lengths, y up, facing right.

    ``limbs`` are named groups, each in painting order; ``points`` are named too.
    """

    def __init__(self, species: Species, pose: Pose) -> None:
        self.species, self.pose = species, pose
        self.limbs: dict[str, list[Segment]] = {}
        self.points: dict[str, complex] = {}
        self.axis = direction(species.posture + pose.lean)  # unit vector from rump to chest
        self.short = 1 - 0.28 * abs(pose.turn)  # foreshortening of everything along the axis
        self.radius = species.plump * pose.build
        self._torso()
        self._neck_and_head()
        self._beak()
        self._tail()
        self._legs()
        if pose.wing != "raised":
            self._folded_wing()
        else:
            self._raised_wing("near", self.axis * direction(180 - pose.wing_angle))
            self._raised_wing("far", self.axis * direction(180 - (pose.wing_angle - 28)))

    def _torso(self) -> None:
        points, axis, dorsal, short, radius = self.points, self.axis, self.axis * 1j, self.short, self.radius
        points["chest"] = 0.20 * short * axis + 0.02 * radius * dorsal
        points["middle"] = -0.04 * short * axis - 0.06 * radius * dorsal
        points["rump"] = -0.33 * short * axis + 0.08 * radius * dorsal
        points["root"] = -0.53 * short * axis + 0.26 * radius * dorsal
        points["back"] = 0.5 * (points["chest"] + points["rump"]) + 0.70 * radius * dorsal
        points["breast"] = points["chest"] + (0.62 * axis - 0.22 * dorsal) * radius
        points["belly"] = points["middle"] + (0.02 * axis - 0.66 * dorsal) * radius
        points["shoulder"] = points["chest"] + (-0.02 - 0.16 * self.pose.turn) * short * axis - 0.05 * radius * dorsal
        points["withers"] = points["chest"] + (0.10 * axis + 0.36 * dorsal) * radius
        points["body"], points["body_x"], points["body_y"] = 0j, axis * radius, dorsal * radius
        trunk = [points["chest"], points["middle"], points["rump"], points["root"]]
        self.limbs["torso"] = _chain(trunk, [radius * 0.96, radius, radius * 0.62, radius * 0.26])

    def _neck_and_head(self) -> None:
        """A curved neck from the chest to a skull that can look anywhere."""
        species, pose, points, radius, head = self.species, self.pose, self.points, self.radius, self.species.head
        # The neck: a chain of capsules along a curve. A long one bends like an S.
        rise = min(max(species.posture + pose.lean + 42, 48), 96)
        up, free, long = direction(rise), species.neck * pose.neck_stretch, species.neck > 0.3
        base = points["chest"] + 0.30 * radius * up
        skull = base + (0.48 * radius + 0.62 * head * pose.neck_stretch + free) * up
        if long:
            skull += 0.25 * free * direction(rise - 60)
            low, high = base + 0.75 * free * direction(rise - 62), base + 0.45 * free * direction(rise + 40)
        else:
            low, high = base + (skull - base) / 3, base + (skull - base) * 2 / 3
        thick, thin, steps = (radius * 0.5, head * 0.62, 6) if long else (radius * 0.86, head * 0.86, 2)
        path = [_bezier(base, low, high, skull, i / steps) for i in range(steps + 1)]
        radii = [thick + (thin - thick) * (i / steps) ** 0.6 for i in range(steps + 1)]
        chain = _chain(path, radii)
        self.limbs["neck_low"], self.limbs["neck_high"] = chain[: steps // 2], chain[steps // 2 :]
        # The skull, and what sits on it; the crest leans back over the nape.
        forward, yaw = direction(pose.head_pitch), math.cos(math.radians(pose.head_yaw))
        points["head"], points["head_x"], points["head_y"] = skull, skull + head * forward, skull + head * forward * 1j
        self.limbs["skull"] = [(skull, head, skull + (0.34 * yaw - 0.06j) * head * forward, head * 0.8)]
        if species.crest:
            start = skull + (0.25 * yaw + 0.62j) * head * forward
            tip = start + species.crest * forward * direction(90 + 48 * (1 if yaw >= 0 else -1))
            self.limbs["crest"] = [(start, head * 0.5, tip, head * 0.06)]
        for side, sign in (("near", 1), ("far", -1)):
            azimuth = math.radians(pose.head_yaw + sign * species.eye_azimuth)
            points[f"eye_{side}"] = skull + head * forward * complex(0.94 * math.cos(azimuth) + 0.1 * yaw, 0.16)
        front = yaw * forward * head
        points["crown"] = skull + 0.15 * front + 0.85j * head * forward
        points["forehead"] = skull + 0.85 * front + 0.42j * head * forward
        points["throat"] = skull + 0.45 * front - 0.85j * head * forward
        points["nape"] = skull - 0.8 * front - (0.25j + 0.1) * head * forward

    def _beak(self) -> None:
        """Upper and lower mandible as chains of tapering capsules, shortened where the bird looks at the viewer."""
        species, head = self.species, self.species.head
        forward = (self.points["head_x"] - self.points["head"]) / head
        yaw, towards = (f(math.radians(self.pose.head_yaw)) for f in (math.cos, math.sin))
        sign = 1 if yaw >= 0 else -1
        shown, towards = sign * max(abs(yaw), 0.16), max(towards, 0.0)
        base = self.points["head"] + head * forward * complex(0.98 * shown, -0.10 - 0.08 * towards)
        heading = forward * complex(shown, -0.28 * towards * min(0.2 / species.beak, 1))
        depth, steps = species.beak_depth, 3
        length = species.beak * (0.85 + 0.15 * abs(yaw))
        path = [base - 0.35 * depth * heading]
        for _ in range(steps):
            path.append(path[-1] + heading * length / steps)
            heading *= direction(-sign * species.beak_curve / steps)
        radii = [depth * (1 - (1 - species.beak_blunt) * (i / steps) ** 0.9) for i in range(steps + 1)]
        upper, down = _chain(path, radii), -1j * forward
        self.limbs["beak_upper"] = upper
        self.limbs["beak_lower"] = [
            (a + 0.45 * ra * down, ra * 0.7, b + 0.45 * rb * down, rb * 0.7)
            for a, ra, b, rb in upper[: 1 if species.beak_curve > 40 else 3]  # a hooked beak has a short one
        ]
        self.points["beak"] = (base + path[-1]) / 2

    def _tail(self) -> None:
        """A fan of feathers from the root of the tail, outer ones first."""
        species, root = self.species, self.points["root"]
        back = -self.axis * direction(-(species.tail_cock + self.pose.tail_cock))
        length, fork, width = 1.15 * species.tail * (0.55 + 0.45 * self.short), species.tail_fork, species.tail_width
        self.limbs["tail"] = []
        for k in (-1.0, 1.0, -0.6, 0.6, -0.2, 0.2):
            along = back * direction(13 * k * self.pose.tail_spread)
            reach = length * (1 - fork * (1 - abs(k)) if fork > 0 else 1 + fork * abs(k))
            start = root + 0.06 * self.axis + 0.45 * k * width * (back * 1j)
            self.limbs["tail"].append((start, width * 0.55, start + reach * along, width * 0.42))
        self.points["tail"] = root + 0.6 * length * back

    def _legs(self) -> None:
        """Two legs with an ankle that bends backwards and four toes each; feet level below the body."""
        points, long, radius = self.points, self.species.legs, self.radius
        belly = 0.62 * points["middle"] + 0.38 * points["rump"]
        thick, toe = 0.016 + 0.010 * long, 0.11 + 0.05 * long
        for side, shift in (("near", 0.5), ("far", -0.5)):
            hip = belly + complex(0.16 * self.pose.gait * shift, -0.72 * radius)
            knee = hip + complex(0.03 * shift, -0.10)
            ankle = knee + long * 0.42 * complex(-0.30, -1)
            foot = ankle + long * 0.62 * complex(0.22 + 0.1 * shift, -1)
            self.limbs[f"thigh_{side}"] = [(hip, radius * 0.36, knee, 0.05)]
            self.limbs[f"leg_{side}"] = [(knee, thick * 1.25, ankle, thick), (ankle, thick, foot, thick * 0.95)]
            self.limbs[f"toes_{side}"] = [
                (foot, thick * 0.95, foot + toe * complex(dx, dy), thick * 0.6)
                for dx, dy in ((-0.7, -0.28), (0.55, -0.5), (1.0, -0.3), (0.95, -0.02))
            ]
            points[f"foot_{side}"] = foot
            points[f"shin_{side}"] = ankle * 0.6 + foot * 0.4

    def _folded_wing(self) -> None:
        """Flight feathers in steps, coverts on top of them. ``along`` points from the shoulder to the wing's tip."""
        shoulder = self.points["shoulder"]
        aim = self.points["root"] - shoulder - 0.02 * self.axis * 1j
        along = aim / abs(aim) * direction(16 if self.pose.wing == "drooped" else 0)
        up = along * -1j  # towards the back
        length = self.species.wing * (0.35 + 0.65 * self.short)
        width = self.species.wing_width * 0.76 * (1 + 0.15 * abs(self.pose.turn))

        def spot(t: float, s: float) -> complex:
            return shoulder + t * length * along + s * width * up

        # Feather j of a row, its root and its tip: t along the wing, s across it, how they grow with j, and the radius.
        for name, count, ((t0, s0, ds0), root), ((t1, dt1, s1, ds1), tip) in (
            ("primaries", 4, ((0.40, -0.30, 0.1), 0.30), ((1.0, -0.075, -0.12, 0.13), 0.11)),
            ("secondaries", 5, ((0.22, -0.52, 0.24), 0.30), ((0.60, 0.045, -0.56, 0.27), 0.20)),
            ("coverts", 5, ((0.14, -0.40, 0.23), 0.28), ((0.42, 0.025, -0.60, 0.29), 0.18)),
            ("median", 5, ((0.08, -0.30, 0.20), 0.26), ((0.26, 0.02, -0.56, 0.30), 0.17)),
        ):
            self.limbs[name] = [
                (spot(t0, s0 + ds0 * j), width * root, spot(t1 + dt1 * j, s1 + ds1 * j), width * tip)
                for j in range(count)
            ]
        self.limbs["wing_shoulder"] = [(spot(0.05, -0.10), width * 0.46, spot(0.19, 0.02), width * 0.58)]
        self.points["wing"] = spot(0.36, 0.0)

    def _raised_wing(self, side: str, arm: complex) -> None:
        """A spread wing: secondaries hang from the forearm, primaries fan out from the hand."""
        shoulder = self.points["shoulder"] + (0.05 if side == "far" else 0.0)
        length = self.species.wing * 1.05
        elbow = shoulder + 0.20 * length * arm * direction(18)
        wrist = elbow + 0.28 * length * arm * direction(-14)
        back = arm * direction(62)  # where the innermost feathers point
        fan: list[Segment] = []
        for j in range(6):
            t, heading = j / 5, back * direction(-22 * (j / 5))
            start = shoulder + (wrist - shoulder) * (0.15 + 0.8 * t)
            fan.append((start, 0.055, start + heading * length * (0.42 + 0.03 * j), 0.062))
        for j in range(6):
            t, heading = j / 5, back * direction(-24 - 40 * (j / 5))
            fan.append((wrist, 0.05, wrist + heading * length * (0.58 + 0.12 * math.sin(2.6 * t)), 0.05))
        hand = wrist + arm * direction(2) * 0.2 * length
        self.limbs[f"fan_{side}"] = fan
        self.limbs[f"arm_{side}"] = _chain([shoulder, elbow, wrist, hand], [0.13, 0.115, 0.085, 0.04])
        self.points[f"wing_{side}"] = wrist + 0.3 * length * back


def _chain(path: list[complex], radii: list[float]) -> list[Segment]:
    return list(zip(path, radii, path[1:], radii[1:], strict=False))


def _bezier(a: complex, b: complex, c: complex, d: complex, t: float) -> complex:
    s = 1 - t
    return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d


def place(figure: Figure, extent: float, shift: Point) -> PlacedFigure:
    """Put a figure into the picture, in a box of which the longer side is ``extent`` of the image side.

    ``shift`` in [0, 1] says where in the room that is left the box goes; 0 is left or top.
    """
    spin, facing = direction(figure.pose.tilt), figure.pose.facing

    def turned(point: complex) -> complex:
        point = point * spin
        return complex(point.real * facing, -point.imag)  # mirrored, y down

    # The box round all limbs decides scale and place.
    segments = [segment for group in figure.limbs.values() for segment in group]
    ends = [(turned(end), r) for a, ra, b, rb in segments for end, r in ((a, ra), (b, rb))]
    left, right = min(p.real - r for p, r in ends), max(p.real + r for p, r in ends)
    top, bottom = min(p.imag - r for p, r in ends), max(p.imag + r for p, r in ends)
    scale = extent / max(right - left, bottom - top)
    room_x, room_y = 1 - scale * (right - left), 1 - scale * (bottom - top)
    dx, dy = room_x * shift[0] - scale * left, room_y * shift[1] - scale * top

    def xy(point: complex) -> Point:
        at = turned(point)
        return on_grid(at.real * scale + dx), on_grid(at.imag * scale + dy)

    limbs = {
        name: [(*xy(a), on_grid(ra * scale), *xy(b), on_grid(rb * scale)) for a, ra, b, rb in group]
        for name, group in figure.limbs.items()
    }
    points = {name: xy(point) for name, point in figure.points.items()}
    return PlacedFigure(figure.species, figure.pose, limbs, points, on_grid(scale))
