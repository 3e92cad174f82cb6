"""Everything that decides the outcome of a run, in one dataclass, and its named presets.

:class:`partlib.runs.build.Recipe` makes the parts that it names; no other file of the method knows it.
"""

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from partlib.errors import ConfigError

LOSSES = ("feature", "visual", "contrastive", "equivariance")
ARCHS = ("fpn8_lite0", "fpn_lite0", *(f"deeplab_resnet50{layout}" for layout in ("", "_paper", "_caffe", "_release")))
FEATURE_NETWORKS = ("efficientnet_lite0", "vgg19", "timm/NAME", "torchvision/NAME")
LEAST: dict[str, float] = {  # of numbers; 0 for all others
    **{"temperature": 1e-6, "steps": 1, "starts": 1, "trial_steps": 1, "batch_size": 2, "num_parts": 2},
    **{"refine_batch_size": 2, "image_size": 16, "feature_size": 16, "loss_size": 8},
}
MOST: dict[str, int] = {  # 10^9 for all other whole numbers: seeds are multiplied, steps counted in 64 bits
    **{"num_parts": 255, "views": 100, "starts": 100, "loss_size": 1024, "feature_size": 4096},  # labels are bytes
}


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run; two runs with equal fields give equal results on one machine."""

    # data
    data: str = "birds"  # data set, see partlib info
    root: str = ""  # folder of the data set, where it is not the default
    data_options: tuple[str, ...] = ()  # further options of the data set, as in classes=1,2,3 or padding=0.1
    image_size: int = 256  # side of the square images in pixels
    num_images: int = 0  # number of training images used, 0 for all
    # networks; "name:weights" takes other weights than ImageNet's: "random", a name of torchvision's, or a file
    num_parts: int = 4  # K
    arch: str = "fpn8_lite0"  # encoder and decoder of the segmenter, or name:weights
    feature_network: str = "efficientnet_lite0"  # frozen network of features, or vgg19, timm/NAME, torchvision/NAME
    feature_layers: tuple[str, ...] = ()  # its layers, empty for its default
    feature_size: int = 384  # side in pixels of the images that it sees
    # losses; weight 0 switches one off
    lambda_feature: float = 5.0  # weight of the feature loss
    lambda_visual: float = 15.0  # weight of the visual loss
    lambda_visual_end: float = 150.0  # weight of the visual loss at the end, grown geometrically; 0 keeps it constant
    lambda_contrastive: float = 3.0  # weight of the contrastive loss
    lambda_equivariance: float = 1.0  # weight of the equivariance loss
    temperature: float = 0.19  # of the contrastive loss
    # what is trained
    views: int = 2  # jittered and warped ones of an image that a frozen encoder sees; 0: it learns, from fresh ones
    loss_size: int = 64  # side in pixels of the part maps that losses read while the encoder is frozen
    refine_steps: int = 0  # further steps, in which the encoder learns too, from fresh views
    refine_batch_size: int = 6  # images in each of these
    starts: int = 6  # initial weights that race; the one with the lowest training loss goes on
    trial_steps: int = 100  # steps after which it is chosen
    select_by: tuple[str, ...] = ("feature", "contrastive", "equivariance")  # losses that they are compared by
    # optimization
    steps: int = 400  # optimization steps
    batch_size: int = 16  # images per step, of all processes together
    lr: float = 1e-3  # learning rate of the decoder
    backbone_lr: float = 5e-4  # learning rate of the encoder
    seed: int = 0  # decides initial weights, batches, jitter and warps
    # bookkeeping, which never changes the result; 0 for never
    eval_every: int = 200  # steps between looks at the validation split
    log_every: int = 10  # steps between entries of the log
    checkpoint_every: int = 100  # steps between checkpoints
    quirks: tuple[str, ...] = ()  # what is computed as in the paper or its code, see partlib.paper.release

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value, least = _typed(name, getattr(self, name), hint), LEAST.get(name, 0)
            object.__setattr__(self, name, value)
            if isinstance(value, int | float) and not least <= value < math.inf:  # this way round NaN is refused too
                raise ConfigError(f"{name} is {value}; expected at least {least}")
            if isinstance(value, int) and value > (most := MOST.get(name, 10**9)):
                raise ConfigError(f"{name} is {value}; expected at most {most}")
        for name, allowed in (("arch", ARCHS), ("feature_network", FEATURE_NETWORKS)):
            network = getattr(self, name).partition(":")[0]
            if network not in allowed and re.sub("/[^/]+$", "/NAME", network) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if not set(self.select_by) <= set(LOSSES):
            raise ConfigError(f"select_by is {', '.join(self.select_by)}; expected some of {', '.join(LOSSES)}")
        if self.refine_steps and not self.views:
            raise ConfigError("refine_steps goes with a frozen encoder; with views 0 it learns from the first step")
        if not any(self.weight(name) for name in LOSSES):
            raise ConfigError("all four loss weights are 0; switch at least one on")

    def weight(self, loss: str) -> float:
        """The weight of one of ``LOSSES``."""
        return getattr(self, f"lambda_{loss}")

    @property
    def frozen(self) -> bool:
        """Whether the encoder keeps its ImageNet weights to the end."""
        return bool(self.views) and not self.refine_steps

    def phases(self) -> list["TrainConfig"]:
        """The run as one or two of one phase each: decoder alone, then the encoder too, at the last visual weight."""
        first = self.replace(refine_steps=0)
        if not self.refine_steps:
            return [first]
        visual = {"lambda_visual": self.lambda_visual and (self.lambda_visual_end or self.lambda_visual)}
        sizes = {"steps": self.refine_steps, "batch_size": self.refine_batch_size}
        return [first, first.replace(views=0, **sizes, starts=1, lambda_visual_end=0.0, **visual)]

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "TrainConfig":
        """The named preset with some fields changed."""
        if name not in PRESETS:
            raise ConfigError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
        preset = PRESETS[name]
        foreign: dict[str, Any] = {}  # names that mean nothing to another data set, or to another network
        if changes.get("data", preset.get("data")) != preset.get("data"):
            foreign["data_options"] = ()
        network = preset.get("feature_network", cls.feature_network)
        if str(changes.get("feature_network", network)).partition(":")[0] != network:
            foreign["feature_layers"] = ()
        return cls.from_dict({**preset, **foreign, **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Inverse of :meth:`to_dict`; missing fields take their defaults."""
        known = sorted(f.name for f in dataclasses.fields(cls))
        for name in values:
            if name not in known:
                raise ConfigError(f"option {name!r} is unknown; expected one of {', '.join(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def replace(self, **changes: Any) -> "TrainConfig":
        return TrainConfig.from_dict({**self.to_dict(), **changes})

    def _deciding(self) -> dict[str, Any]:
        """:meth:`to_dict` without the fields that do not change the result."""
        values = {k: v for k, v in self.to_dict().items() if k not in ("eval_every", "log_every", "checkpoint_every")}
        if self.starts == 1:  # no trial
            values |= {"trial_steps": 0, "select_by": []}
        if not self.views:
            values["loss_size"] = 0
        return values | ({} if self.lambda_visual else {"lambda_visual_end": 0.0})

    def differences(self, other: "TrainConfig") -> dict[str, tuple[Any, Any]]:
        """{field: (value here, value in ``other``)} of the fields that differ and decide the result."""
        theirs = other._deciding()
        return {k: (v, theirs[k]) for k, v in self._deciding().items() if v != theirs[k]}

    def digest(self) -> str:
        """Ten characters that name this configuration; fields that do not change the result are left out."""
        return hashlib.sha256(json.dumps(self._deciding(), sort_keys=True).encode()).hexdigest()[:10]


def _typed(name: str, value: Any, hint: Any) -> Any:
    """``value`` as the type of its field: 5 and 5.0 are one weight, a list and a tuple one list of layers."""
    kind = get_origin(hint) or hint
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r}; expected a value of type {kind.__name__}")
    return value


# The encoder trained from its first step on with fresh views, as in the paper; on a CPU, of small images.
FULL: dict[str, Any] = {
    **{"arch": "fpn_lite0"},
    **{"views": 0, "starts": 6, "image_size": 128, "batch_size": 6, "steps": 1000, "lambda_contrastive": 1.0},
    **{"lambda_visual_end": 0.0, "eval_every": 250},
}

# Paper, section 4 and appendix; what its recipe computes otherwise is the quirk "recipe" of partlib.paper.release.
# Steps are those for CUB-200-2011; DeepFashion takes 100,000.
PAPER: dict[str, Any] = {
    **FULL,
    **{"data": "cub", "image_size": 256, "num_parts": 4, "data_options": ["jitter=0.05", "mirror=True"]},
    **{"arch": "deeplab_resnet50_paper", "quirks": ["recipe"]},
    **{"feature_network": "vgg19", "feature_layers": ["relu3_2", "relu5_4"], "feature_size": 256, "temperature": 0.19},
    **{"lambda_feature": 5.0, "lambda_visual": 30.0, "lambda_contrastive": 2300.0, "lambda_equivariance": 5700.0},
    **{"starts": 1, "steps": 60_000, "lr": 1e-4, "backbone_lr": 1e-5},
    **{"eval_every": 5000, "log_every": 100, "checkpoint_every": 1000},
}

# The recipe for a laptop, with the encoder frozen. Of three layers of features the finest tells good divisions from
# poor ones early. Once features have found the parts, colors tell where they end.
FROZEN: dict[str, Any] = {"feature_layers": ["stride8", "stride16", "stride32"]}

# Each lists only what differs from the defaults of TrainConfig.
PRESETS: dict[str, dict[str, Any]] = {
    "photographs": FROZEN,
    # plumage is patterned, its colors end no part; a strong contrast makes a part of a beak; which division is the
    # better one shows late, in many small steps
    "birds": {
        **{**FROZEN, "lambda_visual_end": 0.0, "lambda_contrastive": 1.0},
        **{"select_by": ["feature", "equivariance"], "trial_steps": 300},
        **{"steps": 1000, "batch_size": 6, "eval_every": 500},
    },
    # CUB-200-2011 with masks derived from boxes; where images are many, few views of each are enough
    "cub": {
        **{"data": "cub", "data_options": ["masks=boxes"], "num_parts": 4, "views": 1, "eval_every": 400},
        **{"lambda_visual": 10.0, "lambda_visual_end": 0.0, "lambda_contrastive": 1.0, "lambda_equivariance": 5.0},
        **{"select_by": ["feature", "equivariance"], "trial_steps": 200},
    },
    # the lessons' sizes
    "ci": {**FULL, "starts": 1, "steps": 30, "num_images": 60, "image_size": 64, "feature_size": 128, "eval_every": 15},
    "cpu": FULL,
    "gpu": {**FULL, "steps": 4000, "batch_size": 24, "image_size": 256, "feature_size": 512, "eval_every": 500},
    "paper": PAPER,
}
# What `partlib demo --quick` changes: half the time of the recipe, for parts that are a little worse.
QUICK: dict[str, Any] = {"feature_size": 256, "views": 1, "starts": 3, "trial_steps": 200, "steps": 600}
SIZES = ("ci", "cpu", "gpu")  # those that a lesson can run at; the others are recipes


def default_preset(data: str) -> str:
    """The name of the preset that fits a data set best."""
    return data if data in ("birds", "cub") else "photographs"
