"""Unsupervised part discovery from contrastive reconstruction: a small, tested teaching implementation."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partlib import losses, metrics, warps
    from partlib.config import TrainConfig
    from partlib.data import PartDataset, Sample, load_dataset
    from partlib.features import PerceptualFeatures
    from partlib.segmenter import PartSegmenter
    from partlib.training import TrainResult, load_or_train, train

__version__ = "0.1.0"
__all__ = [
    "PartDataset",
    "PartSegmenter",
    "PerceptualFeatures",
    "Sample",
    "TrainConfig",
    "TrainResult",
    "load_dataset",
    "load_or_train",
    "losses",
    "metrics",
    "train",
    "warps",
]

# Imported on first use: `partlib --help` should not wait for torch.
_HOMES = {
    "PartDataset": "partlib.data",
    "PartSegmenter": "partlib.segmenter",
    "PerceptualFeatures": "partlib.features",
    "Sample": "partlib.data",
    "TrainConfig": "partlib.config",
    "TrainResult": "partlib.training",
    "load_dataset": "partlib.data",
    "load_or_train": "partlib.training",
    "train": "partlib.training",
}


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"partlib.{name}")
    raise AttributeError(f"module 'partlib' has no attribute {name!r}")
