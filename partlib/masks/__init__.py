"""Object masks: the options of the mask network (:mod:`partlib.masks.network`)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from partlib.config import TrainConfig
from partlib.errors import ConfigError


@dataclass(frozen=True)
class MaskConfig:
    """Everything that decides what a mask network predicts; the fields have the meaning that TrainConfig gives them."""

    data: str = "birds"  # data set, see partlib info
    root: str = ""  # folder of the data set, where it is not the default
    data_options: Sequence[str] = ()  # further options of the data set, as in classes=1,2,3
    image_size: int = 256  # side of the square images in pixels
    examples: int = 1000  # training images that it learns from, spread evenly over all
    steps: int = 300  # optimization steps
    batch_size: int = 12  # images per step
    lr: float = 2e-3  # learning rate
    seed: int = 0  # decides initial weights, batches and mirroring

    def __post_init__(self) -> None:
        self.training()  # checks the values

    def training(self) -> TrainConfig:
        """The same fields as a configuration, for loading the images."""
        values = asdict(self)
        if values.pop("examples") < 1:
            raise ConfigError(f"examples is {self.examples}; expected at least 1")
        return TrainConfig(**values)
