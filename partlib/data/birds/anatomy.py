"""From a species and a pose to geometry: capsules for every limb, and named points.

Points are complex numbers x + iy with y up and the bird facing right, so that turning a vector is a multiplication.
The unit is the length of the torso. :func:`place` then mirrors, tilts, scales and shifts the finished figure into the
picture and rounds every number to a fixed grid: trigonometric functions may differ in their last bit from machine to
machine, the rounded figure does not.
"""

import math
from dataclasses import dataclass, field

from partlib.data.birds.pose import Pose, direction
from partlib.data.birds.raster import Limb, on_grid
from partlib.data.birds.species import Species

Segment = tuple[complex, float, complex, float]  # a, radius at a, b, radius at b


@dataclass
class Figure:
    """Geometry of one bird: named groups of limbs, each in painting order, and named points."""

    limbs: dict[str, list[Segment]] = field(default_factory=dict)
    points: dict[str, complex] = field(default_factory=dict)


@dataclass(frozen=True)
class PlacedFigure:
    """A figure in picture coordinates (unit: image side, y down), rounded to the grid."""

    limbs: dict[str, list[Limb]]
    points: dict[str, tuple[float, float]]
    scale: float  # image sides per torso length


def build_figure(species: Species, pose: Pose) -> Figure:
    """Geometry of a bird of ``species`` in ``pose``, in torso lengths, y up, facing right."""
    figure = Figure()
    axis = direction(species.posture + pose.lean)  # unit vector from rump to chest
    dorsal = axis * 1j
    short = 1 - 0.28 * abs(pose.turn)  # foreshortening of everything along the axis
    radius = species.plump * pose.build
    points = figure.points
    points["chest"] = 0.20 * short * axis + 0.02 * radius * dorsal
    points["middle"] = -0.04 * short * axis - 0.06 * radius * dorsal
    points["rump"] = -0.33 * short * axis + 0.08 * radius * dorsal
    points["root"] = -0.53 * short * axis + 0.26 * radius * dorsal
    figure.limbs["torso"] = [
        (points["chest"], radius * 0.96, points["middle"], radius),
        (points["middle"], radius, points["rump"], radius * 0.62),
        (points["rump"], radius * 0.62, points["root"], radius * 0.26),
    ]
    _build_neck_and_head(figure, species, pose, radius)
    _build_beak(figure, species, pose)
    _build_tail(figure, species, pose, axis, short)
    _build_legs(figure, species, pose, radius)
    points["shoulder"] = points["chest"] + (-0.02 - 0.16 * pose.turn) * short * axis - 0.05 * radius * dorsal
    if pose.wing != "raised":
        _build_folded_wing(figure, species, pose, axis, short)
    else:
        for side, angle in (("near", pose.wing_angle), ("far", pose.wing_angle - 28)):
            _build_raised_wing(figure, species, side, axis * direction(180 - angle), short)
    _add_body_points(figure, radius, axis)
    return figure


def _build_neck_and_head(figure: Figure, species: Species, pose: Pose, radius: float) -> None:
    """A curved neck from the chest to a skull that can look anywhere."""
    points, head = figure.points, species.head
    rise = min(max(species.posture + pose.lean + 42, 48), 96)
    up = direction(rise)
    base = points["chest"] + 0.30 * radius * up
    free = species.neck * pose.neck_stretch
    skull = base + (0.48 * radius + 0.62 * head * pose.neck_stretch + free) * up
    if species.neck > 0.3:  # a long neck bends like an S
        skull += 0.25 * free * direction(rise - 60)
        controls = [base, base + 0.75 * free * direction(rise - 62), base + 0.45 * free * direction(rise + 40), skull]
    else:
        controls = [base, base + (skull - base) / 3, base + (skull - base) * 2 / 3, skull]
    thick, thin = radius * (0.5 if species.neck > 0.3 else 0.86), head * (0.62 if species.neck > 0.3 else 0.86)
    steps = 6 if species.neck > 0.3 else 2
    path = [_bezier(controls, i / steps) for i in range(steps + 1)]
    radii = [thick + (thin - thick) * (i / steps) ** 0.6 for i in range(steps + 1)]
    chain = [(path[i], radii[i], path[i + 1], radii[i + 1]) for i in range(steps)]
    half = max(steps // 2, 1)
    figure.limbs["neck_low"], figure.limbs["neck_high"] = chain[:half], chain[half:]
    forward = direction(pose.head_pitch)
    yaw = math.cos(math.radians(pose.head_yaw))
    points["head"], points["head_x"], points["head_y"] = skull, skull + head * forward, skull + head * forward * 1j
    figure.limbs["skull"] = [(skull, head, skull + (0.34 * yaw - 0.06j) * head * forward, head * 0.8)]
    if species.crest:
        start = skull + (0.25 * yaw + 0.62j) * head * forward
        tip = start + species.crest * forward * direction(90 + 48 * (1 if yaw >= 0 else -1))
        figure.limbs["crest"] = [(start, head * 0.5, tip, head * 0.06)]
    for side, sign in (("near", 1), ("far", -1)):
        azimuth = math.radians(pose.head_yaw + sign * species.eye_azimuth)
        ahead = 0.94 * math.cos(azimuth) + 0.1 * yaw
        points[f"eye_{side}"] = skull + head * forward * complex(ahead, 0.16)
    front = yaw * forward * head
    points["crown"] = skull + 0.15 * front + 0.85j * head * forward
    points["forehead"] = skull + 0.85 * front + 0.42j * head * forward
    points["throat"] = skull + 0.45 * front - 0.85j * head * forward
    points["nape"] = skull - 0.8 * front - (0.25j + 0.1) * head * forward


def _bezier(controls: list[complex], t: float) -> complex:
    a, b, c, d = controls
    s = 1 - t
    return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d


def _build_beak(figure: Figure, species: Species, pose: Pose) -> None:
    """Upper and lower mandible as chains of tapering capsules, shortened where the bird looks at the viewer."""
    points, head = figure.points, species.head
    forward = (points["head_x"] - points["head"]) / head
    yaw, towards = (f(math.radians(pose.head_yaw)) for f in (math.cos, math.sin))
    sign = 1 if yaw >= 0 else -1
    shown = sign * max(abs(yaw), 0.16)
    base = points["head"] + head * forward * complex(0.98 * shown, -0.10 - 0.08 * max(towards, 0))
    heading = forward * complex(shown, -0.28 * max(towards, 0) * min(0.2 / species.beak, 1))
    depth, steps = species.beak_depth, 3
    length = species.beak * (0.85 + 0.15 * abs(yaw))
    bend = direction(-sign * species.beak_curve / steps * 1.0)
    at, upper = base - 0.35 * depth * heading, []
    radii = [depth * (1 - (1 - species.beak_blunt) * (i / steps) ** 0.9) for i in range(steps + 1)]
    for i in range(steps):
        to = at + heading * length / steps
        upper.append((at, radii[i], to, radii[i + 1]))
        at, heading = to, heading * bend
    figure.limbs["beak_upper"] = upper
    down = -1j * forward
    reach = 0.55 if species.beak_curve > 40 else 0.9
    figure.limbs["beak_lower"] = [
        (a + 0.45 * ra * down, ra * 0.7, b + 0.45 * rb * down, rb * 0.7)
        for a, ra, b, rb in upper[: 1 if reach < 0.6 else 3]
    ]
    points["beak"] = (base + at) / 2
    points["beak_base"], points["beak_tip"] = base, at


def _build_tail(figure: Figure, species: Species, pose: Pose, axis: complex, short: float) -> None:
    """A fan of feathers from the root of the tail, outer ones first."""
    cock = species.tail_cock + pose.tail_cock
    back = -axis * direction(-cock)
    root = figure.points["root"]
    side = back * 1j
    order = (-1.0, 1.0, -0.6, 0.6, -0.2, 0.2)
    length = 1.15 * species.tail * (0.55 + 0.45 * short)
    feathers = []
    for k in order:
        along = back * direction(13 * k * pose.tail_spread)
        reach = length * (
            1 - species.tail_fork * (1 - abs(k)) if species.tail_fork > 0 else 1 + species.tail_fork * abs(k)
        )
        start = root + 0.06 * axis + 0.45 * k * species.tail_width * side
        feathers.append((start, species.tail_width * 0.55, start + reach * along, species.tail_width * 0.42))
    figure.limbs["tail"] = feathers
    figure.points["tail"] = root + 0.6 * length * back
    figure.points["tail_tip"] = root + length * back


def _build_legs(figure: Figure, species: Species, pose: Pose, radius: float) -> None:
    """Two legs with an ankle that bends backwards and four toes each; feet level below the body."""
    points = figure.points
    belly = 0.62 * points["middle"] + 0.38 * points["rump"]
    thick = 0.016 + 0.010 * species.legs
    for side, shift in (("near", 0.5), ("far", -0.5)):
        hip = belly + complex(0.16 * pose.gait * shift, -0.72 * radius)
        knee = hip + complex(0.03 * shift, -0.10)
        ankle = knee + species.legs * 0.42 * complex(-0.30, -1)
        foot = ankle + species.legs * 0.62 * complex(0.22 + 0.1 * shift, -1)
        toe = 0.11 + 0.05 * species.legs
        figure.limbs[f"thigh_{side}"] = [(hip, radius * 0.36, knee, 0.05)]
        figure.limbs[f"leg_{side}"] = [(knee, thick * 1.25, ankle, thick), (ankle, thick, foot, thick * 0.95)]
        figure.limbs[f"toes_{side}"] = [
            (foot, thick * 0.95, foot + toe * complex(dx, dy), thick * 0.6)
            for dx, dy in ((-0.7, -0.28), (0.55, -0.5), (1.0, -0.3), (0.95, -0.02))
        ]
        points[f"foot_{side}"] = foot
        points[f"shin_{side}"] = ankle * 0.6 + foot * 0.4


def _build_folded_wing(figure: Figure, species: Species, pose: Pose, axis: complex, short: float) -> None:
    """Flight feathers in steps, coverts on top of them. ``along`` points from the shoulder to the wing's tip."""
    points = figure.points
    shoulder = points["shoulder"]
    droop = 16 if pose.wing == "drooped" else 0
    aim = points["root"] - shoulder - 0.02 * axis * 1j
    along = aim / abs(aim) * direction(droop)
    up = along * -1j  # towards the back
    length = species.wing * (0.35 + 0.65 * short)
    width = species.wing_width * 0.76 * (1 + 0.15 * abs(pose.turn))

    def spot(t: float, s: float) -> complex:
        return shoulder + t * length * along + s * width * up

    figure.limbs["primaries"] = [
        (spot(0.40, -0.30 + 0.1 * j), width * 0.30, spot(1.0 - 0.075 * j, -0.12 + 0.13 * j), width * 0.11)
        for j in range(4)
    ]
    figure.limbs["secondaries"] = [
        (spot(0.22, -0.52 + 0.24 * j), width * 0.30, spot(0.60 + 0.045 * j, -0.56 + 0.27 * j), width * 0.20)
        for j in range(5)
    ]
    figure.limbs["coverts"] = [
        (spot(0.14, -0.40 + 0.23 * j), width * 0.28, spot(0.42 + 0.025 * j, -0.60 + 0.29 * j), width * 0.18)
        for j in range(5)
    ]
    figure.limbs["median"] = [
        (spot(0.08, -0.30 + 0.20 * j), width * 0.26, spot(0.26 + 0.02 * j, -0.56 + 0.30 * j), width * 0.17)
        for j in range(5)
    ]
    figure.limbs["wing_shoulder"] = [(spot(0.05, -0.10), width * 0.46, spot(0.19, 0.02), width * 0.58)]
    points["wing"] = spot(0.36, 0.0)
    points["wing_x"], points["wing_y"] = shoulder + along * width, shoulder + up * width


def _build_raised_wing(figure: Figure, species: Species, side: str, arm: complex, short: float) -> None:
    """A spread wing: secondaries hang from the forearm, primaries fan out from the hand."""
    shoulder = figure.points["shoulder"] + (0.05 if side == "far" else 0.0)
    length = species.wing * 1.05
    elbow = shoulder + 0.20 * length * arm * direction(18)
    wrist = elbow + 0.28 * length * arm * direction(-14)
    back = arm * direction(62)  # where the innermost feathers point
    feathers = []
    for j in range(6):
        t = j / 5
        start = shoulder + (wrist - shoulder) * (0.15 + 0.8 * t)
        heading = back * direction(-22 * t)
        feathers.append((start, 0.055, start + heading * length * (0.42 + 0.03 * j), 0.062))
    for j in range(6):
        t = j / 5
        heading = back * direction(-24 - 40 * t)
        feathers.append((wrist, 0.05, wrist + heading * length * (0.58 + 0.12 * math.sin(2.6 * t)), 0.05))
    figure.limbs[f"fan_{side}"] = feathers
    figure.limbs[f"arm_{side}"] = [(shoulder, 0.13, elbow, 0.115), (elbow, 0.115, wrist, 0.085)]
    figure.limbs[f"arm_{side}"].append((wrist, 0.085, wrist + arm * direction(2) * 0.2 * length, 0.04))
    figure.points[f"wing_{side}"] = wrist + 0.3 * length * back


def _add_body_points(figure: Figure, radius: float, axis: complex) -> None:
    """Keypoints on the torso, and the line between back and breast."""
    points, dorsal = figure.points, axis * 1j
    points["back"] = 0.5 * (points["chest"] + points["rump"]) + 0.70 * radius * dorsal
    points["breast"] = points["chest"] + (0.62 * axis - 0.22 * dorsal) * radius
    points["belly"] = points["middle"] + (0.02 * axis - 0.66 * dorsal) * radius
    points["body"], points["body_x"], points["body_y"] = 0j, axis * radius, dorsal * radius
    points["withers"] = points["chest"] + (0.10 * axis + 0.36 * dorsal) * radius


def place(figure: Figure, pose: Pose, extent: float, shift: tuple[float, float]) -> PlacedFigure:
    """Put a figure into the picture.

    Parameters
    ----------
    extent : longer side of the bird's box as a fraction of the image side.
    shift : two numbers in [0, 1]: where in the room that is left the box goes; 0 is left or top.
    """
    spin = direction(pose.tilt)

    def turned(point: complex) -> complex:
        point = point * spin
        return complex(point.real * pose.facing, -point.imag)  # mirrored, y down

    segments = [(turned(a), ra, turned(b), rb) for group in figure.limbs.values() for a, ra, b, rb in group]
    ends = [end for a, ra, b, rb in segments for end in ((a, ra), (b, rb))]
    left, right = min(p.real - r for p, r in ends), max(p.real + r for p, r in ends)
    top, bottom = min(p.imag - r for p, r in ends), max(p.imag + r for p, r in ends)
    scale = extent / max(right - left, bottom - top)
    room_x, room_y = 1 - scale * (right - left), 1 - scale * (bottom - top)
    dx, dy = room_x * shift[0] - scale * left, room_y * shift[1] - scale * top

    def xy(point: complex) -> tuple[float, float]:
        at = turned(point)
        return on_grid(at.real * scale + dx), on_grid(at.imag * scale + dy)

    limbs = {
        name: [(*xy(a), on_grid(ra * scale), *xy(b), on_grid(rb * scale)) for a, ra, b, rb in group]
        for name, group in figure.limbs.items()
    }
    return PlacedFigure(limbs, {name: xy(point) for name, point in figure.points.items()}, on_grid(scale))
