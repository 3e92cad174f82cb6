"""Object masks: the options of the mask network (:mod:`partlib.masks.network`)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from partlib.config import TrainConfig


@dataclass(frozen=True)
class MaskConfig:
    """Everything that decides what a mask network predicts; the fields have the meaning that TrainConfig gives them."""

    data: str = "birds"
    root: str = ""
    data_options: Sequence[str] = ()
    image_size: int = 128
    num_images: int = 0
    pretrained: bool = True
    steps: int = 400
    batch_size: int = 12
    lr: float = 2e-3
    backbone_lr: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        self.training()  # checks the values

    def training(self) -> TrainConfig:
        """The same fields as a configuration, for loading the images."""
        return TrainConfig(**{name: value for name, value in asdict(self).items() if name != "pretrained"})
