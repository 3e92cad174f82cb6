"""Object masks: the options of the mask network (:mod:`partlib.masks.network`)."""

import dataclasses

from partlib.errors import ConfigError

LEAST = {"image_size": 16, "num_images": 0, "steps": 1, "batch_size": 1, "lr": 0, "backbone_lr": 0, "seed": 0}


@dataclasses.dataclass(frozen=True)
class MaskConfig:
    """Everything that decides what a mask network predicts; the fields have the meaning that TrainConfig gives them."""

    data: str = "birds"
    root: str = ""
    data_options: tuple[str, ...] = ()
    image_size: int = 128
    num_images: int = 0
    pretrained: bool = True
    steps: int = 400
    batch_size: int = 12
    lr: float = 2e-3
    backbone_lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_options", tuple(self.data_options))
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least {least}")
