"""One dataclass holds everything that decides the outcome of a run."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from partlib.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run; two runs with equal fields give equal results on one machine.

    Attributes
    ----------
    data, root, image_size : arguments of ``load_dataset``.
    data_options : further ones of that data set as text, e.g. ``("classes=1,2,3", "padding=0.1")``.
    num_images : number of training images used, 0 for all.
    num_parts : K.
    backbone, pretrained : arguments of ``PartSegmenter``.
    batchnorm : "frozen" keeps the ImageNet statistics and affine parameters of BatchNorm, "affine" trains the affine
        parameters only, "train" also uses and updates batch statistics.
    feature_network, feature_layers, feature_size : arguments of ``PerceptualFeatures``; empty layers mean its default.
    normalize_features : standardise each feature channel over the training set and scale each position to unit length.
    feature, visual, contrastive, equivariance : weights of the four losses; 0 switches a loss off.
    lab_scale : Lab values are divided by this before the visual loss.
    temperature, positives : of the contrastive loss.
    steps, batch_size, seed : length of the run; ``seed`` decides initial weights, batches, jitter and warps.
    optimizer : "adam" or "sgd" (momentum 0.9).
    lr, backbone_lr, weight_decay : learning rates of decoder and backbone.
    poly_power : the learning rate is multiplied by (1 - step / steps) ** poly_power.
    grad_clip : largest L2 norm of the gradient.
    eval_every, log_every, checkpoint_every : in steps; 0 switches off. None of them changes the result.
    """

    data: str = "birds"
    root: str = ""
    data_options: tuple[str, ...] = ()
    image_size: int = 128
    num_images: int = 0
    num_parts: int = 4
    backbone: str = "efficientnet_lite0"
    pretrained: bool = True
    batchnorm: str = "frozen"
    feature_network: str = "efficientnet_lite0"
    feature_layers: tuple[str, ...] = ()
    feature_size: int = 384
    normalize_features: bool = True
    feature: float = 5.0
    visual: float = 15.0
    contrastive: float = 1.0
    equivariance: float = 1.0
    lab_scale: float = 50.0
    temperature: float = 0.19
    positives: str = "all"
    steps: int = 600
    batch_size: int = 6
    seed: int = 0
    optimizer: str = "adam"
    lr: float = 1e-3
    backbone_lr: float = 5e-4
    weight_decay: float = 0.0
    poly_power: float = 0.9
    grad_clip: float = 5.0
    eval_every: int = 100
    log_every: int = 10
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _typed(f.name, getattr(self, f.name), type(f.default)))
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:  # this way round NaN is refused too
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(allowed)}")
        if not any((self.feature, self.visual, self.contrastive, self.equivariance)):
            raise ConfigError("all four loss weights are 0; switch at least one on")

    @classmethod
    def preset(cls, name: str, **changes) -> "TrainConfig":
        """The named preset with some fields changed.

        Raises
        ------
        ConfigError : unknown preset or field.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, values: dict) -> "TrainConfig":
        """Inverse of :meth:`to_dict`; fields that are missing take their defaults."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(f"option {unknown[0]!r} is unknown; expected one of {', '.join(sorted(known))}")
        return cls(**values)

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def replace(self, **changes) -> "TrainConfig":
        return TrainConfig.from_dict({**self.to_dict(), **changes})

    def _deciding(self) -> dict:
        """:meth:`to_dict` without the fields that do not change the result."""
        return {k: v for k, v in self.to_dict().items() if k not in _BOOKKEEPING}

    def differences(self, other: "TrainConfig") -> dict[str, tuple]:
        """{field: (value here, value in ``other``)} of the fields that differ and decide the result."""
        theirs = other._deciding()
        return {k: (v, theirs[k]) for k, v in self._deciding().items() if v != theirs[k]}

    def digest(self) -> str:
        """Ten characters that name this configuration; fields that do not change the result are left out."""
        # A field of _LATER at its default is left out too, so that runs from before it keep their names.
        values = {k: v for k, v in self._deciding().items() if k not in _LATER or v != _LATER[k]}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:10]


def _typed(name: str, value: Any, kind: type) -> Any:
    """``value`` as ``kind``: 5 and 5.0 are one weight, a list and a tuple one list of layers."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not kind:
        raise ConfigError(f"{name} is {value!r}; expected a value of type {kind.__name__}")
    return value


_LEAST = {
    **dict.fromkeys(("num_images", "feature", "visual", "contrastive", "equivariance", "seed", "lr", "backbone_lr"), 0),
    **dict.fromkeys(("weight_decay", "poly_power", "eval_every", "log_every", "checkpoint_every"), 0),
    **dict.fromkeys(("lab_scale", "temperature", "grad_clip"), 1e-6),
    **{"steps": 1, "batch_size": 2, "num_parts": 2, "image_size": 16, "feature_size": 16},
}
_BOOKKEEPING = ("eval_every", "log_every", "checkpoint_every")
_LATER: dict[str, Any] = {"data_options": []}  # fields added after the first runs, with their defaults
_CHOICES = {
    "batchnorm": ("frozen", "affine", "train"),
    "optimizer": ("adam", "sgd"),
    "positives": ("all", "sample"),
}

# What differs from the defaults above. "ci" shows that everything runs, "cpu" is the course's default.
PRESETS: dict[str, dict] = {
    "ci": {"steps": 30, "num_images": 60, "image_size": 64, "feature_size": 128, "eval_every": 15},
    "cpu": {},
    "gpu": {"steps": 4000, "batch_size": 24, "image_size": 256, "feature_size": 512, "eval_every": 500},
}
