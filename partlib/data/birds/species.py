"""What makes one bird differ from another: its species, one block of ``birds.json``, its own colors, and its pose.

Species are invented, their proportions and plumage are not. In some, neighboring parts share a color (crow, cardinal);
in others one part has several (tit, jay, woodpecker). Lengths are in units of the torso, which is about 1 long.
"""

import cmath
import json
import math
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from partlib.data.birds.raster import Array, ink, rgb

Pattern = tuple[str, str, float]  # texture, "midline" or "bars"; "#rrggbb"; strength in [0, 1]


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
