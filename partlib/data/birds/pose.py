"""How a bird holds itself: the random part of its anatomy."""

import math
from dataclasses import dataclass

import numpy as np

from partlib.data.birds.species import Species


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
