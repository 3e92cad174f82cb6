"""One dataclass holds everything that decides the outcome of a run."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from partlib.errors import ConfigError
from partlib.presets import PRESETS, RELEASE

__all__ = ["LOSSES", "PRESETS", "RELEASE", "TrainConfig"]
LOSSES = ("feature", "visual", "contrastive", "equivariance")  # also the names of their weights


@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run; two runs with equal fields give equal results on one machine.

    Attributes
    ----------
    data, root, image_size : arguments of ``load_dataset``.
    data_options : further ones of that data set as text, e.g. ``("classes=1,2,3", "padding=0.1")``.
    num_images : number of training images used, 0 for all.
    box_jitter, mirror : random boxes and mirror images in training, arguments of CUB's loader; the other data sets have
        none. Features are then computed at every step instead of once.
    release_data : prepare images as the release does, where the data set's loader can.
    num_parts : K.
    backbone, input_norm : arguments of ``PartSegmenter``.
    pretrained : start backbone and feature network from ImageNet weights; those named below go before.
    backbone_weights, feature_weights : file with the state dict of a ResNet-50 or a VGG19, or the name of torchvision's
        weights, such as IMAGENET1K_V2; empty for the usual ones.
    batchnorm : "frozen" keeps the ImageNet statistics and affine parameters of BatchNorm, "affine" trains the affine
        parameters only, "train" also uses and updates batch statistics, "statistics" does so with the affine parameters
        frozen except in the shortcut branches of a ResNet (the paper).
    feature_network, feature_layers, feature_size : arguments of ``PerceptualFeatures``; empty layers mean its default.
    normalize_features : standardise each feature channel over the training set and scale each position to unit length.
    feature_level_weights : factor of each feature layer, finest first; empty for 1 each.
    feature, visual, contrastive, equivariance : weights of the four losses; 0 switches a loss off.
    visual_end : weight of the visual loss after the last step; it grows geometrically from ``visual`` to this, so that
        features decide what the parts are and colours, later, where they end. 0 keeps it constant.
    feature_reduction : "mean" or "sum" of the feature loss over the batch.
    masked_features : multiply the upsampled features with the foreground; visible only where it is soft.
    lab_scale : Lab values are divided by this before the visual loss.
    temperature, positives : of the contrastive loss.
    warp_fill : colour beyond the edge of a warped image: "black", or "mean", the one that the network's input
        normalisation maps to 0.
    joint_views : both views pass the network as one batch; apart, each has its own batch statistics.
    starts, start_steps : number of initial weights that are tried and the steps each gets; the one with the lowest
        training loss is trained in full (1 start: no trial and no warm-up).
    warmup_steps : steps in which the decoder of every start learns alone, before the first step of its trial.
    start_losses : losses whose weighted sum the starts are compared by; empty for all.
    steps, batch_size, seed : length of the run; ``seed`` decides initial weights, batches, jitter and warps.
    optimizer : "adam" or "sgd" (momentum 0.9).
    lr, backbone_lr, weight_decay : learning rates of decoder and backbone.
    poly_power, lr_horizon : the learning rate is multiplied by (1 - step / lr_horizon) ** poly_power; a horizon of 0
        stands for ``steps``.
    grad_clip : largest L2 norm of the gradient.
    eval_every, log_every, checkpoint_every : in steps; 0 switches off. None of them changes the result.
    """

    data: str = "birds"
    root: str = ""
    data_options: tuple[str, ...] = ()
    image_size: int = 128
    num_images: int = 0
    box_jitter: float = 0.0
    mirror: bool = False
    release_data: bool = False
    num_parts: int = 4
    backbone: str = "efficientnet_lite0"
    input_norm: str = "own"
    pretrained: bool = True
    backbone_weights: str = ""
    feature_weights: str = ""
    batchnorm: str = "frozen"
    feature_network: str = "efficientnet_lite0"
    feature_layers: tuple[str, ...] = ()
    feature_size: int = 384
    normalize_features: bool = True
    feature_level_weights: tuple[float, ...] = ()
    feature: float = 5.0
    visual: float = 15.0
    contrastive: float = 3.0
    equivariance: float = 1.0
    visual_end: float = 0.0
    feature_reduction: str = "mean"
    masked_features: bool = False
    lab_scale: float = 50.0
    temperature: float = 0.19
    positives: str = "all"
    warp_fill: str = "black"
    joint_views: bool = True
    starts: int = 4
    start_steps: int = 80
    warmup_steps: int = 0
    start_losses: tuple[str, ...] = ()
    steps: int = 1200
    batch_size: int = 6
    seed: int = 0
    optimizer: str = "adam"
    lr: float = 1e-3
    backbone_lr: float = 5e-4
    weight_decay: float = 0.0
    poly_power: float = 0.9
    lr_horizon: int = 0
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
        for name in self.start_losses:
            if name not in LOSSES:
                raise ConfigError(f"start_losses has {name!r}; expected some of {', '.join(LOSSES)}")
        object.__setattr__(self, "feature_level_weights", _numbers(self.feature_level_weights))
        if len(self.feature_level_weights) not in (0, len(self.feature_layers)):
            raise ConfigError(
                f"feature_level_weights has {len(self.feature_level_weights)} numbers; expected one for each of the "
                f"{len(self.feature_layers)} feature_layers, finest first, or none"
            )
        if 0 < self.lr_horizon < self.steps:
            raise ConfigError(f"lr_horizon is {self.lr_horizon}; expected at least the {self.steps} steps, or 0")
        if not any(getattr(self, name) for name in LOSSES):
            raise ConfigError("all four loss weights are 0; switch at least one on")

    @classmethod
    def preset(cls, name: str, *, reproduce_release: bool = False, **changes) -> "TrainConfig":
        """The named preset with some fields changed.

        ``reproduce_release`` turns every quirk of the release on that changes numbers (``presets.RELEASE``); fields
        among ``changes`` go before it.

        Raises
        ------
        ConfigError : unknown preset or field.
        """
        if name not in PRESETS:
            raise ConfigError(f"preset {name!r} is unknown; expected one of {', '.join(PRESETS)}")
        return cls.from_dict({**PRESETS[name], **(RELEASE if reproduce_release else {}), **changes})

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
        values = {k: v for k, v in self.to_dict().items() if k not in _BOOKKEEPING}
        if self.starts == 1:  # no trial
            values |= {"start_steps": 80, "warmup_steps": 0, "start_losses": []}
        return values | ({} if self.visual else {"visual_end": 0.0})

    def differences(self, other: "TrainConfig") -> dict[str, tuple]:
        """{field: (value here, value in ``other``)} of the fields that differ and decide the result."""
        theirs = other._deciding()
        return {k: (v, theirs[k]) for k, v in self._deciding().items() if v != theirs[k]}

    def digest(self) -> str:
        """Ten characters that name this configuration; fields that do not change the result are left out."""
        default = TrainConfig().to_dict()
        values = {k: v for k, v in self._deciding().items() if k not in _LATER or v != default[k]}
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


def _numbers(values: tuple) -> tuple[float, ...]:
    """Level weights, which the command line hands over as text, as positive numbers."""
    try:
        numbers = tuple(float(value) for value in values)
    except ValueError as error:
        raise ConfigError(f"feature_level_weights is {values!r}; expected numbers ({error})") from error
    if not all(number > 0 for number in numbers):
        raise ConfigError(f"feature_level_weights is {values!r}; expected numbers above 0")
    return numbers


_LEAST = {
    **dict.fromkeys(LOSSES, 0),
    **dict.fromkeys(("num_images", "seed", "lr", "backbone_lr", "warmup_steps"), 0),
    **dict.fromkeys(("weight_decay", "poly_power", "eval_every", "log_every", "checkpoint_every"), 0),
    **dict.fromkeys(("box_jitter", "lr_horizon", "visual_end"), 0),
    **dict.fromkeys(("lab_scale", "temperature", "grad_clip"), 1e-6),
    **{"steps": 1, "starts": 1, "start_steps": 1, "batch_size": 2, "num_parts": 2},
    **{"image_size": 16, "feature_size": 16},
}
_BOOKKEEPING = ("eval_every", "log_every", "checkpoint_every")
_CHOICES = {
    "batchnorm": ("frozen", "affine", "train", "statistics"),
    "feature_reduction": ("mean", "sum"),
    "input_norm": ("own", "caffe", "release"),
    "optimizer": ("adam", "sgd"),
    "positives": ("all", "sample", "release"),
    "warp_fill": ("black", "mean"),
}
# Fields younger than the first runs: at their defaults they stay out of the digest, so that those keep their names.
_LATER = (
    *("data_options", "box_jitter", "mirror", "release_data", "input_norm", "backbone_weights", "feature_weights"),
    *("feature_level_weights", "feature_reduction", "masked_features", "warp_fill", "joint_views", "lr_horizon"),
    *("warmup_steps", "start_losses", "visual_end"),
)
