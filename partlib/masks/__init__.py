"""Object masks: the options of the mask network (:mod:`partlib.masks.network`)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from partlib.config import TrainConfig

EXAMPLES = 500  # images that the network of masks from boxes learns from (partlib.masks.boxes)


@dataclass(frozen=True)
class MaskConfig:
    """Everything that decides what a mask network predicts; the fields have the meaning that TrainConfig gives them."""

    data: str = "birds"  # data set, see partlib info
    root: str = ""  # folder of the data set, where it is not the default
    data_options: Sequence[str] = ()  # further options of the data set, as in classes=1,2,3
    image_size: int = 128  # side of the square images in pixels
    num_images: int = 0  # number of training images used, 0 for all
    steps: int = 400  # optimization steps
    batch_size: int = 12  # images per step
    lr: float = 2e-3  # learning rate of the decoder
    backbone_lr: float = 1e-3  # learning rate of the encoder
    seed: int = 0  # decides initial weights, batches, jitter and mirroring

    def __post_init__(self) -> None:
        self.training()  # checks the values

    def training(self) -> TrainConfig:
        """The same fields as a configuration, for loading the images."""
        return TrainConfig(**asdict(self))
