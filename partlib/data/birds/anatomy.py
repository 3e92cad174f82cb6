"""One bird: its species (a block of ``birds.json``), its own colors, its pose, and the figure that follows from them.

Species are invented, their proportions and plumage are not. In some, neighboring parts share a color (crow, cardinal);
in others one part has several (tit, jay, woodpecker). Lengths are in units of the torso, which is about 1 long.

A figure is built facing right around 0, from complex numbers x + iy with y up, so that turning a vector is a
multiplication. It is then mirrored, tilted, scaled and shifted into the picture, and every number is rounded to a grid:
trigonometric functions may differ in their last bit from machine to machine, the rounded figure does not.
"""

import cmath
import json
import math
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from partlib.data.birds.raster import Array, Limb, grid_limb, ink, on_grid, rgb

Pattern = tuple[str, str, float]  # texture, "midline" or "bars"; "#rrggbb"; strength in [0, 1]
Bone = tuple[complex, float, complex, float]  # a, radius at a, b, radius at b


@dataclass(frozen=True)
class Species:
    """Proportions and plumage of one species."""

    name: str
    habitat: str = "branch"  # branch, trunk, ground, water, wade
    posture: float = 32.0  # degrees of the body axis above the horizon
    plump: float = 0.31  # radius of the chest
    head: float = 0.22  # radius of the skull
    neck: float = 0.0  # free length of the neck
    beak: float = 0.2  # length
    beak_depth: float = 0.07  # half its height at the base
    beak_curve: float = 4.0  # degrees the tip points down; 25 decurved, 70 hooked
    beak_blunt: float = 0.12  # radius of the tip as a fraction of that of the base
    crest: float = 0.0  # length of the crest
    eye: float = 0.2  # radius of the eye as a fraction of that of the skull
    eye_azimuth: float = 62.0  # degrees from straight ahead; owls look forward
    wing: float = 0.92  # length of the folded wing
    wing_width: float = 0.24  # half its height
    tail: float = 0.5  # length
    tail_width: float = 0.1  # half its width at the root
    tail_fork: float = 0.0  # > 0: outer feathers longer; < 0: shorter
    tail_cock: float = 0.0  # degrees the tail is carried above the body axis
    legs: float = 0.26  # length of the tarsus
    colors: dict[str, str] = field(default_factory=dict)  # region -> "#rrggbb"; "bar": two pale bars on the wing
    marks: dict[str, str] = field(default_factory=dict)  # marking of the head (``plumage.MARKS``) -> color, in order
    patterns: dict[str, Pattern] = field(default_factory=dict)  # of breast, back, wing and tail


TABLE = json.loads(files(__package__).joinpath("birds.json").read_text("utf-8"))
SEEN, UNSEEN = (tuple(Species(**block) for block in TABLE[group]) for group in ("seen", "unseen"))
SPECIES = SEEN + UNSEEN


def draw_colors(rng: np.random.Generator, species: Species) -> dict[str, Array]:
    """The ink of every plumage region, a little lighter or darker, redder or bluer from bird to bird."""
    text = dict(species.colors)
    for region, default in TABLE["colors"].items():  # a color, or an earlier region whose color it takes
        text.setdefault(region, text.get(default, default))
    bright, warm = (rng.uniform(-1, 1, 2) * (0.10, 0.05)).tolist()
    gain = np.array([(1 + bright) * (1 + warm), 1 + bright, (1 + bright) * (1 - warm)])
    colors = {region: np.minimum(rgb(value) * gain, 1) for region, value in text.items()}
    colors["eyelid"] = 0.12 + 0.6 * colors["face"]
    return {region: ink(color) for region, color in colors.items()}


def direction(degrees: float) -> complex:
    """Unit vector at an angle above the horizon."""
    return cmath.rect(1, math.radians(degrees))


class Pose:
    """How one bird holds itself, drawn at random, always by the same number of draws. Angles in degrees."""

    def __init__(self, rng: np.random.Generator, species: Species) -> None:
        u = rng.uniform(0, 1, 17).tolist()
        self.wing = "raised" if u[2] < 0.12 else "drooped" if u[2] < 0.25 else "folded"
        self.flying = self.wing == "raised" and u[16] < 0.5
        self.facing = 1 if u[3] < 0.5 else -1  # 1 right, -1 left
        steady = species.habitat in ("water", "wade") and not self.flying
        self.tilt = (u[4] + u[5] - 1) * (8 if steady else 24)  # of the whole figure
        lean = (u[6] - 0.5) * (10 if species.habitat == "water" else 34)
        self.posture = (12 if self.flying else species.posture) + lean  # of the body axis above the horizon
        self.turn = (u[7] + u[8] - 1) * 0.9  # of the body towards (+1) or away from (-1) the viewer
        # It looks ahead or a little to either side, at the viewer, or over the shoulder.
        least, span = (-25, 75) if u[0] < 0.62 else (50, 60) if u[0] < 0.85 else (130, 40)
        yaw = least + span * u[1]
        if species.eye_azimuth < 45:  # eyes in front: such a bird turns its face to whatever it watches
            yaw = 60 + 0.35 * yaw
        self.head_yaw = yaw  # 0 along the body, 90 at the viewer, 150 over the shoulder; negative: away from the viewer
        self.eyes = {"near": yaw + species.eye_azimuth, "far": yaw - species.eye_azimuth}
        self.showing = {eye: math.sin(math.radians(degrees)) for eye, degrees in self.eyes.items()}  # 1: at the viewer
        self.head_pitch = (u[9] - 0.5) * 40
        self.neck_stretch = 0.8 + 0.5 * u[10]
        self.tail_cock = (u[11] - 0.4) * 36
        self.tail_spread = 0.35 + 1.3 * u[12] * u[12] + 0.6 * self.flying
        self.wing_angle = 35 + 75 * u[13]  # of a raised wing above the body axis
        self.gait = 0.4 + 0.8 * u[14]  # how far the feet stand apart
        self.build = 0.92 + 0.16 * u[15]  # individual plumpness, about 1


class Figure:
    """A bird in a box whose longer side is ``extent`` of the image's; ``shift`` in [0, 1]: where in the room left.

    ``limbs`` (capsules in painting order), ``points`` (x + iy) and ``scale`` (length of the torso) are in picture
    coordinates; ``bones`` and ``spots`` are the same limbs and points in the bird's own.
    """

    def __init__(self, species: Species, pose: Pose, extent: float, shift: list[float]) -> None:
        self.species, self.pose = species, pose
        self.bones: dict[str, list[Bone]] = {}
        self.spots: dict[str, complex] = {}
        self.axis = direction(pose.posture)  # unit vector from rump to chest
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
        self._place(extent, shift)

    def _torso(self) -> None:
        spots, radius, along, up = self.spots, self.radius, self.short * self.axis, self.radius * self.axis * 1j
        spots["body"], spots["body_x"], spots["body_y"] = 0j, self.axis * radius, up
        spots["chest"] = 0.20 * along + 0.02 * up
        spots["middle"] = -0.04 * along - 0.06 * up
        spots["rump"] = -0.33 * along + 0.08 * up
        spots["root"] = -0.53 * along + 0.26 * up
        spots["back"] = (spots["chest"] + spots["rump"]) / 2 + 0.70 * up
        spots["breast"] = spots["chest"] + 0.62 * radius * self.axis - 0.22 * up
        spots["belly"] = spots["middle"] + 0.02 * radius * self.axis - 0.66 * up
        spots["shoulder"] = spots["chest"] - (0.02 + 0.16 * self.pose.turn) * along - 0.05 * up
        spots["withers"] = spots["chest"] + 0.10 * radius * self.axis + 0.36 * up
        trunk = [spots[name] for name in ("chest", "middle", "rump", "root")]
        self.bones["torso"] = _chain(trunk, [radius * 0.96, radius, radius * 0.62, radius * 0.26])

    def _neck_and_head(self) -> None:
        """A curved neck from the chest to a skull that can look anywhere."""
        species, pose, spots, radius, head = self.species, self.pose, self.spots, self.radius, self.species.head
        # The neck: a chain of capsules along a cubic Bezier curve. A long one bends like an S.
        rise = min(max(pose.posture + 42, 48), 96)
        up, free, long = direction(rise), species.neck * pose.neck_stretch, species.neck > 0.3
        base = spots["chest"] + 0.30 * radius * up
        skull = base + (0.48 * radius + 0.62 * head * pose.neck_stretch + free) * up
        if long:
            skull += 0.25 * free * direction(rise - 60)
            low, high = base + 0.75 * free * direction(rise - 62), base + 0.45 * free * direction(rise + 40)
        else:
            low, high = base + (skull - base) / 3, base + (skull - base) * 2 / 3
        thick, thin, steps = (radius * 0.5, head * 0.62, 6) if long else (radius * 0.86, head * 0.86, 2)
        t = np.linspace(0, 1, steps + 1)
        path = (1 - t) ** 3 * base + 3 * (1 - t) ** 2 * t * low + 3 * (1 - t) * t**2 * high + t**3 * skull
        chain = _chain(path.tolist(), (thick + (thin - thick) * t**0.6).tolist())
        self.bones["neck_low"], self.bones["neck_high"] = chain[: steps // 2], chain[steps // 2 :]
        # The skull, and what sits on it; the crest leans back over the nape.
        ahead, yaw = head * direction(pose.head_pitch), math.cos(math.radians(pose.head_yaw))
        spots["head"], spots["head_x"], spots["head_y"] = skull, skull + ahead, skull + ahead * 1j
        self.bones["skull"] = [(skull, head, skull + (0.34 * yaw - 0.06j) * ahead, head * 0.8)]
        if species.crest:
            start = skull + (0.25 * yaw + 0.62j) * ahead
            tip = start + species.crest * direction(pose.head_pitch + 90 + 48 * (1 if yaw >= 0 else -1))
            self.bones["crest"] = [(start, head * 0.5, tip, head * 0.06)]
        for side, degrees in pose.eyes.items():
            spots[f"eye_{side}"] = skull + ahead * complex(0.94 * math.cos(math.radians(degrees)) + 0.1 * yaw, 0.16)
        spots["crown"] = skull + (0.15 * yaw + 0.85j) * ahead
        spots["forehead"] = skull + (0.85 * yaw + 0.42j) * ahead
        spots["throat"] = skull + (0.45 * yaw - 0.85j) * ahead
        spots["nape"] = skull - (0.8 * yaw + 0.1 + 0.25j) * ahead

    def _beak(self) -> None:
        """Upper and lower mandible as chains of tapering capsules, shortened where the bird looks at the viewer."""
        species, forward, yaw = self.species, direction(self.pose.head_pitch), direction(self.pose.head_yaw)
        sign = 1 if yaw.real >= 0 else -1
        shown, towards = sign * max(abs(yaw.real), 0.16), max(yaw.imag, 0.0)
        base = self.spots["head"] + species.head * forward * complex(0.98 * shown, -0.10 - 0.08 * towards)
        heading = forward * complex(shown, -0.28 * towards * min(0.2 / species.beak, 1))
        depth, steps = species.beak_depth, 3
        length = species.beak * (0.85 + 0.15 * abs(yaw.real))
        path = [base - 0.35 * depth * heading]
        for _ in range(steps):
            path.append(path[-1] + heading * length / steps)
            heading *= direction(-sign * species.beak_curve / steps)
        radii = [depth * (1 - (1 - species.beak_blunt) * (i / steps) ** 0.9) for i in range(steps + 1)]
        self.bones["beak_upper"] = upper = _chain(path, radii)
        drop, lower = -0.45j * forward, upper[:1] if species.beak_curve > 40 else upper  # a hooked beak has a short one
        self.bones["beak_lower"] = [(a + ra * drop, ra * 0.7, b + rb * drop, rb * 0.7) for a, ra, b, rb in lower]
        self.spots["beak"] = (base + path[-1]) / 2

    def _tail(self) -> None:
        """A fan of feathers from the root of the tail, outer ones first."""
        species, root = self.species, self.spots["root"]
        back = -self.axis * direction(-(species.tail_cock + self.pose.tail_cock))
        length, fork, width = 1.15 * species.tail * (0.55 + 0.45 * self.short), species.tail_fork, species.tail_width
        self.bones["tail"] = []
        for k in (-1.0, 1.0, -0.6, 0.6, -0.2, 0.2):
            along = back * direction(13 * k * self.pose.tail_spread)
            reach = length * (1 - fork * (1 - abs(k)) if fork > 0 else 1 + fork * abs(k))
            start = root + 0.06 * self.axis + 0.45 * k * width * (back * 1j)
            self.bones["tail"].append((start, width * 0.55, start + reach * along, width * 0.42))
        self.spots["tail"] = root + 0.6 * length * back

    def _legs(self) -> None:
        """Two legs with an ankle that bends backwards and four toes each; feet level below the body."""
        long, radius = self.species.legs, self.radius
        belly = 0.62 * self.spots["middle"] + 0.38 * self.spots["rump"]
        thick, toe = 0.016 + 0.010 * long, 0.11 + 0.05 * long
        for side, shift in (("near", 0.5), ("far", -0.5)):
            hip = belly + complex(0.16 * self.pose.gait * shift, -0.72 * radius)
            knee = hip + complex(0.03 * shift, -0.10)
            ankle = knee + long * 0.42 * complex(-0.30, -1)
            foot = ankle + long * 0.62 * complex(0.22 + 0.1 * shift, -1)
            toes = [foot + toe * end for end in (-0.7 - 0.28j, 0.55 - 0.5j, 1.0 - 0.3j, 0.95 - 0.02j)]
            self.bones[f"thigh_{side}"] = [(hip, radius * 0.36, knee, 0.05)]
            self.bones[f"leg_{side}"] = _chain([knee, ankle, foot], [thick * 1.25, thick, thick * 0.95])
            self.bones[f"leg_{side}"] += [(foot, thick * 0.95, end, thick * 0.6) for end in toes]
            self.spots[f"foot_{side}"], self.spots[f"leg_{side}"] = foot, ankle * 0.6 + foot * 0.4

    def _folded_wing(self) -> None:
        """Rows of feathers in steps, coverts on top. ``along`` points from the shoulder to the wing's tip."""
        shoulder = self.spots["shoulder"]
        aim = self.spots["root"] - shoulder - 0.02 * self.axis * 1j
        along = aim / abs(aim) * direction(16 if self.pose.wing == "drooped" else 0)
        length = self.species.wing * (0.35 + 0.65 * self.short)
        width = self.species.wing_width * 0.76 * (1 + 0.15 * abs(self.pose.turn))

        def spot(t: float, s: float) -> complex:
            return shoulder + (t * length - 1j * s * width) * along  # s > 0 towards the back

        # Feather j's root and tip: t along the wing, s across it, how they grow with j, and the radius.
        for name, row in TABLE["wing"].items():
            (t0, dt0, s0, ds0, root), (t1, dt1, s1, ds1, tip) = row["root"], row["tip"]
            self.bones[name] = [
                (spot(t0 + dt0 * j, s0 + ds0 * j), width * root, spot(t1 + dt1 * j, s1 + ds1 * j), width * tip)
                for j in range(row["count"])
            ]
        self.bones["wing_shoulder"] = [(spot(0.05, -0.10), width * 0.46, spot(0.19, 0.02), width * 0.58)]
        self.spots["wing_near"] = self.spots["wing_far"] = spot(0.36, 0.0)

    def _raised_wing(self, side: str, arm: complex) -> None:
        """A spread wing: secondaries hang from the forearm, primaries fan out from the hand."""
        shoulder = self.spots["shoulder"] + (0.05 if side == "far" else 0.0)
        length = self.species.wing * 1.05
        elbow = shoulder + 0.20 * length * arm * direction(18)
        wrist = elbow + 0.28 * length * arm * direction(-14)
        back = arm * direction(62)  # where the innermost feathers point
        fan = self.bones[f"fan_{side}"] = []
        for j in range(6):
            start = shoulder + (wrist - shoulder) * (0.15 + 0.16 * j)
            fan.append((start, 0.055, start + back * direction(-4.4 * j) * length * (0.42 + 0.03 * j), 0.062))
        for j in range(6):
            reach = length * (0.58 + 0.12 * math.sin(0.52 * j))
            fan.append((wrist, 0.05, wrist + back * direction(-24 - 8 * j) * reach, 0.05))
        hand = wrist + arm * direction(2) * 0.2 * length
        self.bones[f"arm_{side}"] = _chain([shoulder, elbow, wrist, hand], [0.13, 0.115, 0.085, 0.04])
        self.spots[f"wing_{side}"] = wrist + 0.3 * length * back

    def _place(self, extent: float, shift: list[float]) -> None:
        """Fill ``limbs``, ``points`` and ``scale``."""
        spin, facing = direction(self.pose.tilt), self.pose.facing

        def turned(spot: complex) -> complex:
            return (spot * spin).conjugate() if facing == 1 else -spot * spin  # mirrored, y down

        # The box round all limbs decides scale and place.
        bones = [bone for group in self.bones.values() for bone in group]
        ends = [(turned(end), r) for a, ra, b, rb in bones for end, r in ((a, ra), (b, rb))]
        left, top = min(p.real - r for p, r in ends), min(p.imag - r for p, r in ends)
        width, height = max(p.real + r for p, r in ends) - left, max(p.imag + r for p, r in ends) - top
        scale = extent / max(width, height)
        room = complex(shift[0] * (1 - scale * width), shift[1] * (1 - scale * height))

        def placed(spot: complex) -> complex:
            return (turned(spot) - complex(left, top)) * scale + room

        self.limbs: dict[str, list[Limb]] = {
            name: [grid_limb(placed(a), ra * scale, placed(b), rb * scale) for a, ra, b, rb in group]
            for name, group in self.bones.items()
        }
        places = {name: placed(spot) for name, spot in self.spots.items()}
        self.points = {name: complex(on_grid(place.real), on_grid(place.imag)) for name, place in places.items()}
        self.scale = on_grid(scale)


def _chain(path: list[complex], radii: list[float]) -> list[Bone]:
    return list(zip(path, radii, path[1:], radii[1:], strict=False))
