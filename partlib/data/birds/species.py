"""What makes one bird differ from another: its species, one block of ``species.json``, and a random pose.

Species are invented, their proportions and plumage are not: finch, thrush, tit, crow, woodpecker, kingfisher, duck,
heron, owl, parrot, swallow ... In some, neighboring parts share a color (crow, cardinal); in others one part has
several (tit, jay, woodpecker). Lengths are in units of the torso, which is about 1 long.
"""

import json
import math
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

Pattern = tuple[str, str, float]  # name, "#rrggbb", strength in [0, 1]


@dataclass(frozen=True)
class Species:
    """Proportions and plumage of one species.

    ``colors`` maps a plumage region to "#rrggbb"; a missing region takes the color of its fall-back in ``FALLBACK``.
    ``marks`` maps a marking of the head (``plumage.MARKS``) to its color; they are drawn in this order. The names of
    patterns are those of textures, "midline" or "bars".
    """

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
    colors: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    breast_pattern: Pattern | None = None
    back_pattern: Pattern | None = None
    wing_pattern: Pattern | None = None
    tail_pattern: Pattern | None = None
    wing_bars: str | None = None  # color of two pale bars on the folded wing


_TABLE = json.loads(files(__package__).joinpath("species.json").read_text("utf-8"))
SEEN, UNSEEN = (tuple(Species(**block) for block in _TABLE[group]) for group in ("seen", "unseen"))
SPECIES = SEEN + UNSEEN

# region -> region whose color it takes where the species names none
FALLBACK = dict(crown="back", face="crown", throat="breast", nape="crown", belly="breast", rump="back", wing="back")
FALLBACK |= dict(flight="wing", edge="flight", tail="flight", tail_edge="tail", beak_low="beak")
PLAIN = {"beak": "#3a3632", "legs": "#4a3f3a", "eye": "#1a120c"}


def region_colors(species: Species) -> dict[str, tuple[float, float, float]]:
    """Color in [0, 1] RGB of every plumage region of ``species``, fall-backs resolved."""
    text = {**PLAIN, **species.colors, "bar": species.wing_bars or "#ffffff"}
    for region, other in FALLBACK.items():  # in an order in which every fall-back is already known
        text.setdefault(region, text[other])
    return {region: rgb(value) for region, value in text.items()}


def rgb(text: str) -> tuple[float, float, float]:
    """ "#rrggbb" as three numbers in [0, 1]."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


@dataclass(frozen=True)
class Pose:
    """How one bird holds itself. Angles in degrees."""

    facing: int  # 1 right, -1 left
    tilt: float  # of the whole figure
    lean: float  # added to the species' posture
    turn: float  # of the body towards (+1) or away from (-1) the viewer
    head_yaw: float  # 0 along the body, 90 at the viewer, 150 over the shoulder; negative: away from the viewer
    head_pitch: float
    neck_stretch: float
    flying: bool
    tail_cock: float
    tail_spread: float
    wing: str  # "folded", "drooped" or "raised"
    wing_angle: float  # of a raised wing above the body axis
    gait: float  # how far the feet stand apart
    build: float  # individual plumpness, about 1

    def eye_showing(self, side: str, azimuth: float) -> float:
        """How much, 1 at most, the "near" or "far" eye faces the viewer; ``azimuth`` degrees from straight ahead."""
        return math.sin(math.radians(self.head_yaw + (azimuth if side == "near" else -azimuth)))


def direction(degrees: float) -> complex:
    """Unit vector at an angle above the horizon."""
    return complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))


def draw_pose(rng: np.random.Generator, species: Species) -> Pose:
    """A random pose. Draws from ``rng`` a fixed number of times whatever the species."""
    u = rng.uniform(0, 1, 17).tolist()
    if u[0] < 0.62:  # looks ahead, or a little to either side
        yaw = -25 + 75 * u[1]
    elif u[0] < 0.85:  # at the viewer
        yaw = 50 + 60 * u[1]
    else:  # over the shoulder
        yaw = 130 + 40 * u[1]
    if species.eye_azimuth < 45:  # eyes in front: such a bird turns its face to whatever it watches
        yaw = 60 + 0.35 * yaw
    wing = "raised" if u[2] < 0.12 else "drooped" if u[2] < 0.25 else "folded"
    flying = wing == "raised" and u[16] < 0.5
    steady = species.habitat in ("water", "wade") and not flying
    lean = (u[6] - 0.5) * (10 if species.habitat == "water" else 34)
    if flying:
        lean += 12 - species.posture
    return Pose(
        facing=1 if u[3] < 0.5 else -1,
        tilt=(u[4] + u[5] - 1) * (8 if steady else 24),
        lean=lean,
        turn=(u[7] + u[8] - 1) * 0.9,
        head_yaw=yaw,
        head_pitch=(u[9] - 0.5) * 40,
        neck_stretch=0.8 + 0.5 * u[10],
        flying=flying,
        tail_cock=(u[11] - 0.4) * 36,
        tail_spread=0.35 + 1.3 * u[12] * u[12] + 0.6 * flying,
        wing=wing,
        wing_angle=35 + 75 * u[13],
        gait=0.4 + 0.8 * u[14],
        build=0.92 + 0.16 * u[15],
    )
