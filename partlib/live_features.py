"""Features of crops that are drawn anew at every step: nothing to keep, so the frozen network runs along."""

import torch
from torch import Tensor

from partlib.config import TrainConfig
from partlib.data.base import Batch, PartDataset, collate
from partlib.errors import ConfigError
from partlib.sources import feature_extractor


class LiveFeatures:
    """Features of images, computed when asked for. The counterpart of :class:`partlib.features.FeatureBank`.

    Raises
    ------
    ConfigError : ``config`` scales features with statistics of the whole training set, which random crops do not have.
    """

    def __init__(self, config: TrainConfig, device: str | torch.device = "cpu") -> None:
        if config.normalize_features:
            raise ConfigError(
                "normalize_features is True, but random crops (box_jitter, mirror) have no fixed features to take "
                "statistics of; set it to False, or box_jitter to 0 and mirror to False"
            )
        self.extractor = feature_extractor(config, device)

    def of(self, images: Tensor) -> list[Tensor]:
        """Maps (B, C_l, h_l, w_l) of clean images (B, 3, H, W) in [0, 1]."""
        return self.extractor(images)


def seeded_batch(dataset: PartDataset, indices: list[int], seed: int, step: int) -> Batch:
    """The samples at ``indices``; random crops of them depend on ``seed`` and ``step`` alone.

    Data sets draw from PyTorch's global generator. Here it is seeded for the moment, so that an interrupted run that
    goes on sees the crops that it would have seen.
    """
    if dataset.fixed_crop:
        return collate([dataset[i] for i in indices])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 15_485_863 + step)  # other numbers than those of jitter and warps
        return collate([dataset[i] for i in indices])
