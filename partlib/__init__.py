"""Unsupervised part discovery from contrastive reconstruction: a small, tested teaching implementation.

The method in fifteen files, in the order to read them:

 1. config       everything that decides the outcome of a run, and the presets
 2. data/base    one sample, one batch, one data set
 3. data         ``load_dataset``, the one door to all data sets
 4. augment      color jitter, and the Lab colors of the visual loss
 5. warps        thin-plate warps for the equivariance loss
 6. backbones    ImageNet networks, cut open
 7. segmenter    the trained network: image -> part logits -> part maps
 8. features     frozen perceptual features, cached or live
 9. moments      sums over upsampled features without upsampling them
10. losses       the four losses
11. objective    two views of a batch -> four losses -> their weighted sum
12. loader       step number -> images and features of that step; the maps of a frozen encoder
13. training     the training step
14. metrics      NMI, ARI and keypoint regression
15. evaluation   a segmentation of a whole data set, and its scores

Around them: ``runs`` takes a run from a configuration to a folder, ``report`` says something about a result, ``masks``
makes object masks, ``paper`` has what only the reproduction needs, ``cli`` is the command line.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partlib import losses, metrics, warps
    from partlib.config import TrainConfig
    from partlib.data import PartDataset, Sample, load_dataset
    from partlib.features import PerceptualFeatures
    from partlib.runs import TrainResult, load_or_train, train
    from partlib.runs.checkpoint import load_pretrained
    from partlib.segmenter import PartSegmenter

__version__ = version("partlib")
# Imported on first use: `partlib --help` should not wait for torch. Name -> where it lives; "" for a module.
_HOMES = {"TrainConfig": "config", "PartSegmenter": "segmenter", "PerceptualFeatures": "features"}
_HOMES |= dict.fromkeys(("PartDataset", "Sample", "load_dataset"), "data")
_HOMES |= dict.fromkeys(("TrainResult", "load_or_train", "train"), "runs")
_HOMES["load_pretrained"] = "runs.checkpoint"
_HOMES |= dict.fromkeys(("losses", "metrics", "warps"), "")
__all__ = ["PartDataset", "PartSegmenter", "PerceptualFeatures", "Sample", "TrainConfig", "TrainResult"]
__all__ += ["load_dataset", "load_or_train", "load_pretrained", "losses", "metrics", "train", "warps"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'partlib' has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(f"partlib.{home}"), name) if home else import_module(f"partlib.{name}")
