"""The birds' species: proportions, colours and markings, one line of text each.

Species are invented, their proportions and plumage are not: finch, thrush, tit, crow, woodpecker, kingfisher, duck,
heron, owl, parrot, swallow ... In some, neighbouring parts share a colour (crow, cardinal); in others one part has
several (tit, jay, woodpecker). Lengths are in units of the torso, which is about 1 long.
"""

from dataclasses import dataclass, field

Pattern = tuple[str, str, float]  # name, "#rrggbb", strength in [0, 1]


@dataclass(frozen=True)
class Species:
    """Proportions and plumage of one species.

    ``colors`` maps a plumage region to "#rrggbb"; a region that is missing takes the colour of its fall-back in
    ``FALLBACK``. ``marks`` are drawn on the head in the given order, each ``(name, colour)``. The names
    of marks are those of ``bird_head``, those of patterns textures of ``bird_textures``, "midline" or "bars".
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
    marks: tuple[tuple[str, str], ...] = ()
    breast_pattern: Pattern | None = None
    back_pattern: Pattern | None = None
    wing_pattern: Pattern | None = None
    tail_pattern: Pattern | None = None
    wing_bars: str | None = None  # colour of two pale bars on the folded wing


# region -> region whose colour it takes where the species names none
FALLBACK = {
    "crown": "back",
    "face": "crown",
    "throat": "breast",
    "nape": "crown",
    "belly": "breast",
    "rump": "back",
    "wing": "back",
    "flight": "wing",
    "edge": "flight",
    "tail": "flight",
    "tail_edge": "tail",
    "beak_low": "beak",
}
PLAIN = {"beak": "#3a3632", "legs": "#4a3f3a", "eye": "#1a120c"}


def region_colors(species: Species) -> dict[str, tuple[float, float, float]]:
    """Colour in [0, 1] RGB of every plumage region of ``species``, fall-backs resolved."""
    text = {**PLAIN, **species.colors}
    for region, other in FALLBACK.items():  # in an order in which every fall-back is already known
        text.setdefault(region, text[other])
    return {region: rgb(value) for region, value in text.items()}


def rgb(text: str) -> tuple[float, float, float]:
    """ "#rrggbb" as three numbers in [0, 1]."""
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _colors(text: str) -> dict[str, str]:
    """ "back 6b5a48 breast c8642c" -> {"back": "#6b5a48", ...}."""
    words = text.split()
    return {region: f"#{value}" for region, value in zip(words[::2], words[1::2], strict=True)}


# fmt: off
SEEN = (
    Species(
        "rust-breasted thrush", posture=38, legs=0.3,
        colors=_colors("back 6e665c crown 3c3936 breast c4602a belly d07a48 throat 7a6a5c wing 625a50 flight 4d4740 "
                         "edge 8a8074 tail 3e3a36 beak d9a436 legs 6a4f36"),
        marks=(("eyering", "#e8e2d4"),),
    ),
    Species(
        "crimson crestling", plump=0.3, head=0.214, beak=0.17, beak_depth=0.1, crest=0.2, tail=0.62, posture=42,
        colors=_colors("back a8262a crown c8282c breast cf2f2c wing 97262b flight 7a2428 edge b5453f tail 9a2226 "
                         "beak e0662e legs 6b3a30"),
        marks=(("mask", "#201a1a"),),
    ),
    Species(
        "blue collared jay", plump=0.3, head=0.225, beak=0.21, beak_depth=0.07, crest=0.14, tail=0.68, tail_fork=-0.25,
        colors=_colors("back 5b7fb8 crown 4c74b4 face e4e6e8 breast c9ccd0 belly e2e2e0 wing 3f78c4 flight 2f66b8 "
                         "edge 9fc0e8 tail 2f68bc tail_edge e8ecf0"),
        marks=(("moustache", "#26262c"), ("napeline", "#26262c")),
        wing_pattern=("bars", "#15203a", 0.75), tail_pattern=("bars", "#15203a", 0.7), wing_bars="#eef2f6",
    ),
    Species(
        "meadow goldfinch", plump=0.31, head=0.214, beak=0.13, beak_depth=0.08, tail=0.4, tail_fork=0.25, wing=0.85,
        colors=_colors("back e2c52a crown e4c82c breast efd53c belly f0dc6a wing 26221e flight 1e1b18 edge d8d2c0 "
                         "tail 211d1a tail_edge d8d4c8 beak e08a48 legs b07850"),
        marks=(("cap", "#1b1817"),), wing_bars="#f2eee0",
    ),
    Species(
        "sulphur tit", plump=0.33, head=0.235, beak=0.12, beak_depth=0.05, tail=0.42, wing=0.8,
        colors=_colors("back 7d8f4c crown 1d2026 face 1d2026 throat 1d2026 breast e0cf48 belly e6d96a wing 6f8296 "
                         "flight 55677c edge a9bac6 tail 56687c legs 5c6672"),
        marks=(("cheek", "#f2f3ee"),), breast_pattern=("midline", "#1d2026", 0.9), wing_bars="#eef0ea",
    ),
    Species(
        "carrion rook", plump=0.3, head=0.225, beak=0.28, beak_depth=0.085, beak_curve=10, tail=0.52, tail_width=0.12,
        wing=1.0, legs=0.3, habitat="ground",
        colors=_colors("back 26272d crown 24252a breast 2b2c32 wing 1f2128 flight 191a20 edge 3c404c tail 1c1d23 "
                         "beak 1d1c1c legs 1d1c1c"),
    ),
    Species(
        "barn sparrow", plump=0.32, head=0.23, beak=0.14, beak_depth=0.085, tail=0.45, wing=0.78, posture=28,
        colors=_colors("back 8a6440 crown 7f7b76 face c8c4bc nape 7c4a2c throat 2a2522 breast bdb6aa belly cfc9be "
                         "wing 8c5a34 flight 5a4634 edge b48c60 tail 5e4c3c legs b08468"),
        marks=(("lores", "#2a2522"), ("bib", "#2a2522"), ("stripe", "#6e4228")),
        back_pattern=("streaks", "#33261b", 0.9), wing_bars="#e6ddcc",
    ),
    Species(
        "creek song-sparrow", plump=0.31, head=0.219, beak=0.14, beak_depth=0.07, tail=0.52, tail_fork=-0.2, wing=0.75,
        colors=_colors("back 80644c crown 6b4a34 face aaa294 breast e6e0d2 belly efeae0 wing 8a6244 flight 6a5240 "
                         "edge a98c6c tail 7c5e46 legs c89c84"),
        marks=(("stripe", "#5a3c28"), ("brow", "#c8c2b4"), ("moustache", "#5a3c28")),
        breast_pattern=("streaks", "#5a3a26", 1.0), back_pattern=("streaks", "#3a2a1e", 0.7),
    ),
    Species(
        "spotted wood-thrush", plump=0.34, head=0.225, beak=0.18, beak_depth=0.06, tail=0.42, legs=0.32,
        colors=_colors("back 9a6238 crown a8683a face b09880 breast f1ece0 belly f6f3ea wing 8f5c38 flight 7d5236 "
                         "edge a9784e tail 8a5a38 legs e0b09a beak 5a4638"),
        marks=(("eyering", "#f4efe4"),), breast_pattern=("spots", "#2c211a", 1.0),
    ),
    Species(
        "lesser pied woodpecker", habitat="trunk", posture=68, plump=0.28, head=0.214, beak=0.26, beak_depth=0.055,
        tail=0.42, tail_width=0.07, tail_fork=-0.35, wing=0.85, legs=0.2,
        colors=_colors("back 1d1c1f crown 1d1c1f face ece8e0 breast e4ddd0 belly e8e0d4 wing 1c1b1e flight 1b1a1d "
                         "edge 35343a tail 1c1b1e tail_edge eceae4"),
        marks=(("stripe", "#1d1c1f"), ("moustache", "#1d1c1f"), ("napepatch", "#cf2a22")),
        wing_pattern=("spots", "#f2efe8", 0.95), back_pattern=("midline", "#ece8de", 0.85),
    ),
    Species(
        "moss woodpecker", habitat="trunk", posture=62, plump=0.29, head=0.225, beak=0.3, beak_depth=0.06, tail=0.46,
        tail_width=0.08, tail_fork=-0.35, wing=0.9, legs=0.2,
        colors=_colors("back 7e9440 rump c8c83c crown c22c26 face 8a9a5c nape c22c26 breast b4b88c belly c2c49c "
                         "wing 6e8638 flight 5a5c38 edge b8bc84 tail 55523a"),
        marks=(("mask", "#211f1c"), ("moustache", "#8e2420")), tail_pattern=("bars", "#2c2a22", 0.6),
    ),
    Species(
        "river kingfisher", plump=0.32, head=0.268, beak=0.46, beak_depth=0.075, beak_curve=0, tail=0.26, wing=0.76,
        posture=48, legs=0.12,
        colors=_colors("back 2aa0c8 crown 1f6f9c face d8742c throat f2ece0 breast d8742c belly e08c44 rump 46c0dc "
                         "wing 1f7898 flight 1b6488 edge 5ab4cc tail 1f6a9a legs d84c30 beak 25211f beak_low 6a3024"),
        marks=(("cap", "#1f6f9c"), ("neckpatch", "#f2efe6"), ("moustache", "#1f6f9c")),
        wing_pattern=("spots", "#7fd0e0", 0.6),
    ),
    Species(
        "green-headed dabbler", habitat="water", posture=4, plump=0.3, head=0.198, neck=0.16, beak=0.25,
        beak_depth=0.075, beak_curve=12, beak_blunt=0.8, tail=0.3, tail_cock=14, wing=0.95, wing_width=0.21, legs=0.18,
        colors=_colors("back 7c7468 rump 23221f crown 1f5c3c face 1f6a44 throat 1f5c3c breast 6a3d28 belly c4beb2 "
                         "wing a39a8c flight 746a5e edge d4ccbc tail d8d4ca tail_edge 8a8478 beak d2b22e legs d86c2a"),
        marks=(("collar", "#f0eee6"),), back_pattern=("fine", "#4a443c", 0.5), wing_bars="#3454a8",
    ),
    Species(
        "slate heron", habitat="wade", posture=30, plump=0.25, head=0.134, neck=0.62, beak=0.42, beak_depth=0.06,
        beak_curve=0, crest=0.2, tail=0.26, wing=1.0, legs=0.8, eye=0.24,
        colors=_colors("back 74808c crown 2a2e34 face e2e2e0 throat e8e8e4 nape b0b4b8 breast c8cacc belly d2d2d0 "
                         "wing 77838f flight 3c4450 edge 9ca8b2 tail 6c7884 beak d0a440 legs 8a7a50 eye c8a020"),
        marks=(("stripe", "#23262c"),), breast_pattern=("midline", "#3a3e46", 0.6),
    ),
    Species(
        "tawny hoot-owl", posture=72, plump=0.36, head=0.332, beak=0.1, beak_depth=0.06, beak_curve=55, tail=0.36,
        tail_width=0.13, wing=0.92, wing_width=0.25, legs=0.12, eye=0.19, eye_azimuth=34,
        colors=_colors("back 85623f crown 80603f face a07c50 breast c9ad84 belly d6bf9a wing 7d5a3a flight 6b4e34 "
                         "edge a98a62 tail 74553a beak c4b070 legs c0a078 eye 17100c"),
        marks=(("disc", "#e2d0a8"),), breast_pattern=("streaks", "#4a3220", 1.0),
        back_pattern=("streaks", "#3a2818", 0.8), wing_pattern=("bars", "#3e2c1c", 0.6),
        tail_pattern=("bars", "#3e2c1c", 0.6),
    ),
    Species(
        "emerald parakeet", posture=58, plump=0.28, head=0.235, beak=0.15, beak_depth=0.105, beak_curve=75, tail=0.95,
        tail_width=0.08, tail_fork=-0.6, wing=0.95, legs=0.14,
        colors=_colors("back 4f9a38 crown 62b040 face 6cba4c breast 7cc252 belly 94cc68 wing 459434 flight 2f7a34 "
                         "edge 70b458 tail 3f8c48 tail_edge 4a90a8 beak cc2c30 legs 8a7a74 eye 9c4a20"),
        marks=(("napeline", "#26262a"), ("bibline", "#26262a")),
    ),
    Species(
        "fork-tailed swallow", posture=24, plump=0.25, head=0.198, beak=0.09, beak_depth=0.05, tail=0.78,
        tail_width=0.07, tail_fork=0.6, wing=1.25, wing_width=0.18, legs=0.1,
        colors=_colors("back 26386c crown 24366a throat a8422c breast ecd8c4 belly f0e2d2 wing 22305c flight 20263c "
                         "edge 3a4668 tail 1e2848"),
        marks=(("forehead", "#a8422c"), ("collarband", "#22305c")),
    ),
    Species(
        "bramble wren", plump=0.33, head=0.23, beak=0.19, beak_depth=0.04, beak_curve=14, tail=0.3, tail_cock=62,
        tail_width=0.09, wing=0.62, wing_width=0.22, legs=0.26, posture=22,
        colors=_colors("back 7e5230 crown 77502f face b0926c breast c2a27a belly b08c64 wing 7a4f2f flight 6e4a2e "
                         "edge 8f6642 tail 77502f legs a87c5c beak 5a4632"),
        marks=(("brow", "#dccdb0"),), back_pattern=("bars", "#3e2816", 0.5), wing_pattern=("bars", "#34210f", 0.8),
        tail_pattern=("bars", "#34210f", 0.85), breast_pattern=("fine", "#7a5634", 0.5),
    ),
    Species(
        "harlequin magpie", plump=0.29, head=0.214, beak=0.23, beak_depth=0.075, tail=1.05, tail_width=0.09,
        tail_fork=-0.5, wing=0.88, legs=0.32, habitat="ground",
        colors=_colors("back 1b1c22 crown 191a1f breast 1c1d22 belly f0f0ec wing f0f0ec flight 22407a edge 2f5c98 "
                         "tail 1d3c4c tail_edge 24583c beak 19181a legs 19181a"),
    ),
    Species(
        "rock pigeon", plump=0.34, head=0.177, neck=0.1, beak=0.13, beak_depth=0.045, beak_curve=10, tail=0.46,
        tail_width=0.12, wing=0.95, legs=0.2, habitat="ground", posture=28,
        colors=_colors("back 98a0ac crown 5c6878 face 5f6a7a nape 4a7468 throat 5c4a70 breast 7c6a86 belly 98a0aa "
                         "wing a6aeb8 flight 77808c edge b4bac2 tail 6c7682 tail_edge 2c3038 legs c4485a beak 3a3a40"),
        marks=(("cere", "#e8e4e0"),), wing_bars="#2c3038",
    ),
    Species(
        "striped yellow-warbler", plump=0.29, head=0.209, beak=0.15, beak_depth=0.045, tail=0.44, wing=0.82,
        colors=_colors("back 98923c crown d0bc3a face e2ca3a breast ecd444 belly f0dc6c wing 6e6a3c flight 57543a "
                         "edge b8b060 tail 66623a legs b08c60"),
        breast_pattern=("streaks", "#8e3c20", 0.9), wing_bars="#efe9b8",
    ),
    Species(
        "upside nuthatch", habitat="trunk", posture=12, plump=0.31, head=0.23, beak=0.22, beak_depth=0.05,
        beak_curve=-4, tail=0.26, tail_width=0.11, wing=0.8, legs=0.2,
        colors=_colors("back 6c88a6 crown 6a86a4 face f0ece4 breast e2bc8c belly d49a5c wing 647e9a flight 4e6076 "
                         "edge 8aa2b8 tail 5a7088 tail_edge 26282c legs 8a7252 beak 4a4e54"),
        marks=(("stripe", "#1f2126"),),
    ),
    Species(
        "harbour gull", habitat="ground", plump=0.3, head=0.203, neck=0.05, beak=0.23, beak_depth=0.065, beak_curve=14,
        posture=16, tail=0.34, wing=1.15, wing_width=0.2, legs=0.26,
        colors=_colors("back a4acb6 crown f2f2f0 face f4f4f2 nape eef0f0 breast f4f4f0 belly f4f4f0 wing a6aeb8 "
                         "flight 33363c edge e6e6e4 tail f0f0ee beak e2b832 beak_low e09030 legs d88a70 eye d8c040"),
        marks=(),
    ),
    Species(
        "dappled sandpiper", habitat="wade", plump=0.29, head=0.182, neck=0.1, beak=0.5, beak_depth=0.042,
        beak_curve=12, posture=18, tail=0.28, wing=0.95, wing_width=0.2, legs=0.5,
        colors=_colors("back 8c765c crown 7c6850 face cabda6 breast d6c9b2 belly f0ece2 wing 88725a flight 5c4e40 "
                         "edge c8b898 tail 8a7660 legs a8a050 beak 4a423c"),
        marks=(("stripe", "#5a4a3a"), ("brow", "#ece4d2")), breast_pattern=("streaks", "#5e4c3a", 0.8),
        back_pattern=("spots", "#3a2e22", 0.8), wing_pattern=("spots", "#efe4cc", 0.5),
    ),
)

UNSEEN = (
    Species(
        "rainbow bee-eater", plump=0.25, head=0.203, beak=0.36, beak_depth=0.045, beak_curve=26, tail=0.72,
        tail_fork=-0.5, tail_width=0.06, wing=1.0, wing_width=0.19, legs=0.1, posture=50,
        colors=_colors("back c08a38 crown 9a4a24 nape 9a4a24 face 3a8a9c throat f0cc3c breast 3ca0a8 belly 5ab0a8 "
                         "wing 8a5a2c flight 3a8a6c edge 8ac0a0 tail 2c7c74"),
        marks=(("stripe", "#17181a"), ("bibline", "#17181a")),
    ),
    Species(
        "banded hoopoe", habitat="ground", plump=0.27, head=0.177, beak=0.42, beak_depth=0.04, beak_curve=20,
        crest=0.34, tail=0.56, tail_width=0.1, wing=0.9, posture=26, legs=0.2,
        colors=_colors("back c68e5c crown d08c50 face d39a68 breast d8a070 belly ead8c0 wing 1d1b1a flight 1f1d1c "
                         "edge f0ece0 tail 1e1c1b tail_edge f0ece0"),
        wing_pattern=("bars", "#f2eee2", 1.0), tail_pattern=("bars", "#f2eee2", 0.5),
    ),
    Species(
        "silky waxwing", plump=0.31, head=0.219, beak=0.12, beak_depth=0.06, crest=0.18, tail=0.42, wing=0.88,
        posture=46, legs=0.18,
        colors=_colors("back 94785c crown a8825c breast b8926a belly e2d28c wing 85786c flight 5f6068 edge a8a49c "
                         "tail 6a6c74 tail_edge f0d030"),
        marks=(("mask", "#1b1919"), ("bib", "#3a2c24")),
    ),
    Species(
        "starry mynah", habitat="ground", plump=0.31, head=0.209, beak=0.23, beak_depth=0.055, tail=0.34, wing=0.9,
        wing_width=0.22, posture=34, legs=0.28,
        colors=_colors("back 2a3a3c crown 2c2a3e breast 30283e belly 2a2a38 wing 33302e flight 3c342c edge 9a7a50 "
                         "tail 3a342e tail_edge 7c6644 beak d8b03c legs 8c4a3c"),
        breast_pattern=("spots", "#e4dcc4", 0.95), back_pattern=("spots", "#d8c490", 0.95),
    ),
    Species(
        "scarlet macaw", posture=60, plump=0.27, head=0.251, beak=0.19, beak_depth=0.12, beak_curve=72, tail=1.15,
        tail_width=0.08, tail_fork=-0.6, wing=1.0, legs=0.14,
        colors=_colors("back c8281e crown cc2a20 face e8e0d6 breast d02c22 belly cc2a20 wing e0b02c flight 2454a8 "
                         "edge 3c74c0 tail b8261c tail_edge 2454a8 beak d8ccb4 beak_low 2a2624 legs 4a4444 eye d8c860"),
        marks=(("cap", "#cc2a20"),),
    ),
    Species(
        "harvest quail", habitat="ground", plump=0.37, head=0.203, beak=0.11, beak_depth=0.055, beak_curve=18,
        tail=0.2, wing=0.74, wing_width=0.25, posture=20, legs=0.2,
        colors=_colors("back 8c7050 crown 5e4630 face c8ae88 throat 3a2a20 breast c08c5c belly dcc4a0 wing 927452 "
                         "flight 74593e edge d8c096 tail 866a4a legs c49a7c"),
        marks=(("brow", "#efe2c6"), ("stripe", "#5a4028")), back_pattern=("streaks", "#efe2c0", 0.8),
        breast_pattern=("streaks", "#7a4c2c", 0.6), wing_pattern=("bars", "#4a3624", 0.6),
    ),
    Species(
        "snowy egret", habitat="wade", posture=34, plump=0.24, head=0.128, neck=0.55, beak=0.36, beak_depth=0.045,
        beak_curve=0, crest=0.12, tail=0.24, wing=0.92, legs=0.75, eye=0.22,
        colors=_colors("back f0f0ec crown f2f2ee breast f2f2ee wing eeeeea flight e6e8e8 edge fbfbf8 tail eceeec "
                         "beak 26231f legs 2c2a28 eye d8c840"),
        marks=(("lores", "#d8c850"),),
    ),
)
# fmt: on

SPECIES = SEEN + UNSEEN
