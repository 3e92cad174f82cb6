"""Frozen perceptual features: what an ImageNet network sees in an image (paper, section 3.1). Nothing here is trained.

Features of a data set come in one of two ways, both through :func:`features_of`: from a cache, where every image always
looks the same and the cache is not too large, or live, computed at every step.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from partlib.backbones import Lite0Encoder, TimmEncoder, TorchvisionEncoder, VGG19Encoder, folded
from partlib.data.base import Column, PartDataset, at_once, batches, collate
from partlib.distributed import progress_bar
from partlib.errors import ConfigError
from partlib.paths import Rows, Shapes, cached_rows, gigabytes, read

DEFAULT_LAYERS = {"efficientnet_lite0": ("stride16", "stride32"), "vgg19": ("relu3_2", "relu5_4")}
ENCODERS: dict[str, type[nn.Module]] = {"efficientnet_lite0": Lite0Encoder, "vgg19": VGG19Encoder}
LIBRARIES: dict[str, type[nn.Module]] = {"timm": TimmEncoder, "torchvision": TorchvisionEncoder}  # of many more
SAMPLE = 256  # images that statistics of live features are taken over


class PerceptualFeatures(nn.Module):
    """Image -> feature maps of a frozen ImageNet network, one per layer, finest first."""

    def __init__(
        self,
        network: str = "efficientnet_lite0",  # this, "vgg19" (the paper's), or as in "timm/resnet50"
        layers: tuple[str, ...] = (),  # names of its layers, none for the usual ones
        weights: str = "",  # see partlib.backbones
        size: int | None = 256,  # images are resized to so many pixels first, unless it is None
    ) -> None:
        super().__init__()
        library, _, name = network.partition("/")
        if network not in ENCODERS and not (name and library in LIBRARIES):
            known = ", ".join([*ENCODERS, *(f"{library}/NAME" for library in LIBRARIES)])
            raise ConfigError(f"feature network {network!r} is unknown; expected one of {known}")
        self.size = size
        with torch.random.fork_rng(devices=[]):  # random weights are the same ones every time
            torch.manual_seed(0)
            if name:
                self.network = LIBRARIES[library](name, layers, weights)
            else:
                self.network = ENCODERS[network](layers or DEFAULT_LAYERS[network], weights)
        self.layers: tuple[str, ...] = self.network.layers  # type: ignore[assignment]
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "PerceptualFeatures":
        return super().train(False)  # frozen: BatchNorm statistics included

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps (B, C_l, h_l, w_l), one per layer, of images (B, 3, H, W) in [0, 1]."""
        if self.size is not None and images.shape[-1] != self.size:
            images = F.interpolate(images, size=(self.size, self.size), mode="bicubic", align_corners=False)
            images = images.clamp(0, 1)
        return self.network(images)


@dataclass
class CachedFeatures:
    """Features of every image of a data set: ``maps`` are (N, C_l, h_l, w_l) float16, one per layer, memory-mapped."""

    maps: list[np.ndarray]
    layers: tuple[str, ...]

    def load(self, indices: Sequence[int] | np.ndarray | Tensor) -> list[Tensor]:
        """What a step reads for the images at ``indices``: float16 maps, half the bytes to move to a device."""
        return [read(array, np.asarray(indices)) for array in self.maps]

    def __call__(self, loaded: list[Tensor], images: Tensor | None = None) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l) of what :meth:`load` read."""
        return [z.float() for z in loaded]

    def batch(self, indices: Sequence[int] | np.ndarray | Tensor) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l) of the images at ``indices``."""
        return self(self.load(indices))


@dataclass
class LiveFeatures:
    """Features computed at every step, of ``source``, or of the training images themselves where that is None."""

    extractor: PerceptualFeatures
    source: PartDataset | None = None

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """The images (B, 3, S, S) that the network sees, where they are not the batch's."""
        return [] if self.source is None else [torch.stack([self.source[i].image for i in indices])]

    def __call__(self, loaded: list[Tensor], images: Tensor) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l)."""
        return [z.float() for z in self.extractor(loaded[0] if loaded else images)]


Features = CachedFeatures | LiveFeatures


def features_of(
    dataset: PartDataset, extractor: PerceptualFeatures, source: PartDataset | None = None, limit_gb: float = 20.0
) -> Features:
    """Features of the images of ``dataset``, cached unless that would take more than ``limit_gb`` gigabytes.

    ``source`` holds the same crops at a larger size, with detail that the smaller images have lost.
    """
    if not dataset.fixed_crop:
        return LiveFeatures(extractor)
    if gigabytes(cache_shapes(source or dataset, extractor)) > limit_gb:
        return LiveFeatures(extractor, source)
    return cached_features(source or dataset, extractor)


def cache_shapes(dataset: PartDataset, extractor: PerceptualFeatures) -> Shapes:
    """Layer -> shape (N, C_l, h_l, w_l) of the maps of all images, from the features of the first."""
    image = dataset[0].image[None].to(next(extractor.parameters()).device)
    return {layer: (len(dataset), *z.shape[1:]) for layer, z in zip(extractor.layers, extractor(image), strict=True)}


def cached_features(dataset: PartDataset, extractor: PerceptualFeatures) -> CachedFeatures:
    """Features of all images of ``dataset``, computed once and then read from the cache."""
    if not dataset.fixed_crop:
        raise ConfigError(f"crops of {dataset.name!r} are drawn anew every time; leave out jitter and mirror")
    device = next(extractor.parameters()).device

    def plan() -> tuple[str, Shapes, Callable[[int], Iterator[Rows]]]:
        shapes = cache_shapes(dataset, extractor)
        title = f"features of {dataset.name} {dataset.split} ({gigabytes(shapes):.1f} GB)"
        return f"features of {len(dataset)} images", shapes, lambda first: rows(first, title)

    def rows(first: int, title: str) -> Iterator[Rows]:
        network = folded(extractor) if getattr(extractor.network, "foldable", True) else extractor
        step = at_once(device)
        total = math.ceil((len(dataset) - first) / step)
        for batch, _ in progress_bar(batches(dataset, step, first), title, total, leave=False):
            maps = network(batch.images.to(device))
            yield {layer: z.half().cpu().numpy() for layer, z in zip(extractor.layers, maps, strict=True)}

    key = [dataset.fingerprint(), digest_of(extractor), extractor.layers, extractor.size, len(dataset)]
    arrays = cached_rows("features", key, plan)
    return CachedFeatures([arrays[layer] for layer in extractor.layers], extractor.layers)


def digest_of(network: nn.Module) -> str:
    """What tells the weights of a network from all others."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


@dataclass
class FeatureScaling:
    """Puts the feature channels of a network on one scale: a squared distance would see the largest only.

    Each channel is standardized over the foreground of the training set; each position of each layer is then scaled to
    unit length, so that all positions weigh the same and |z - mu|^2 measures direction.
    """

    mean: list[Tensor]  # (1, C_l, 1, 1) per layer
    std: list[Tensor]  # (1, C_l, 1, 1) per layer

    @classmethod
    def fit(cls, maps: Sequence[np.ndarray | Tensor], foregrounds: Tensor | Column) -> "FeatureScaling":
        """Statistics of the maps (N, C_l, h_l, w_l) over their cells under the foregrounds (N, 1, H, W)."""
        statistics = [_channel_statistics(z, foregrounds) for z in maps]
        return cls([mean for mean, _ in statistics], [std for _, std in statistics])

    @classmethod
    @torch.no_grad()
    def of(cls, features: Features, dataset: PartDataset) -> "FeatureScaling":
        """Scaling of the features of ``dataset``: over all images of a cache, else over ``SAMPLE`` of them."""
        if isinstance(features, CachedFeatures):
            # as booleans: the masks of a large data set then take a quarter of the memory
            masks = torch.stack([dataset[i].foreground > 0.5 for i in range(len(dataset))])  # (N, 1, H, W)
            return cls.fit(features.maps, masks)
        device, maps, foregrounds = next(features.extractor.parameters()).device, [], []
        for pick in torch.linspace(0, len(dataset) - 1, min(len(dataset), SAMPLE)).long().split(16):
            batch = collate([dataset[i] for i in pick.tolist()])
            loaded = [z.to(device) for z in features.load(pick.tolist())]
            maps.append([z.half().cpu() for z in features(loaded, batch.images.to(device))])
            foregrounds.append(batch.foreground > 0.5)
        return cls.fit([torch.cat(layer) for layer in zip(*maps, strict=True)], torch.cat(foregrounds))

    def to(self, device: torch.device | str) -> "FeatureScaling":
        return FeatureScaling([m.to(device) for m in self.mean], [s.to(device) for s in self.std])

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        """Scaled copies of the maps (B, C_l, h_l, w_l)."""
        layers = zip(maps, self.mean, self.std, strict=True)
        return [F.normalize((z - mean.to(z.device)) / std.to(z.device), dim=1) for z, mean, std in layers]


def foreground_cells(foregrounds: Tensor, size: Sequence[int]) -> Tensor:
    """Which cells (B, 1, h, w) of a map of ``size`` (h, w) are mostly foreground (B, 1, H, W)."""
    return F.adaptive_avg_pool2d((foregrounds > 0.5).float(), (size[-2], size[-1])) > 0.5


def _channel_statistics(z: np.ndarray | Tensor, foregrounds: Tensor | Column, batch: int = 16) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (1, C, 1, 1) each, over the foreground cells; a batch in memory at a time."""
    count, total, squares = 0.0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for start in range(0, len(z), batch):
        rows = slice(start, start + batch)
        values = read(z, rows).double()  # (B, C, h, w)
        weight = foreground_cells(foregrounds[rows], values.shape).double()  # (B, 1, h, w)
        count += float(weight.sum())
        values = values * weight  # weights are 0 or 1, so that the square below needs none
        total = total + values.sum((0, 2, 3))  # (C,)
        squares = squares + values.square_().sum((0, 2, 3))  # (C,)
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean**2).clamp(min=1e-12).sqrt()
    return mean.float().view(1, -1, 1, 1), std.float().view(1, -1, 1, 1)
