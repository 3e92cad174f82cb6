"""Options of the foreground network (:mod:`partlib.foreground`); apart from it, so that ``--help`` loads no torch."""

from partlib.config import TrainConfig
from partlib.errors import ConfigError

# Fields of TrainConfig that the network uses, and its own defaults.
FIELDS = (
    *("data", "root", "data_options", "image_size", "num_images", "pretrained"),
    *("steps", "batch_size", "lr", "backbone_lr", "seed"),
)
DEFAULTS = {"steps": 400, "batch_size": 12, "lr": 2e-3, "backbone_lr": 1e-3}


def foreground_config(**changes) -> TrainConfig:
    """Configuration of a foreground network: the fields ``FIELDS`` of TrainConfig; all others are without effect.

    Raises
    ------
    ConfigError : a field that the network does not use, or a value out of range.
    """
    unused = sorted(set(changes) - set(FIELDS))
    if unused:
        raise ConfigError(f"option {unused[0]!r} is not one of the foreground network; expected {', '.join(FIELDS)}")
    return TrainConfig.from_dict({**DEFAULTS, **changes})
