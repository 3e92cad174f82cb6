"""Frozen perceptual features: what an ImageNet network sees in an image. Nothing here is trained."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from partlib.backbones import Lite0Encoder
from partlib.data.base import PartDataset, collate
from partlib.errors import ConfigError
from partlib.paths import cache_dir

DEFAULT_LAYERS = {"efficientnet_lite0": ("stride16", "stride32"), "vgg19": ("relu3_2", "relu5_4")}


class PerceptualFeatures(nn.Module):
    """Image -> feature maps of a frozen ImageNet network, one per layer.

    Parameters
    ----------
    network : "efficientnet_lite0" or "vgg19" (the paper's).
    layers : layer names; None for the network's default (paper: relu3_2 and relu5_4 of VGG19). The attribute of that
        name, like the maps, has the finest layer first.
    pretrained : use ImageNet weights; random ones are for tests of shapes only.
    size : side in pixels that images are resized to before the network sees them; None keeps theirs.
    weights : what a VGG19 uses instead, see :func:`partlib.backbones.torchvision_weights`.
    """

    def __init__(
        self,
        network: str = "efficientnet_lite0",
        layers: tuple[str, ...] | None = None,
        pretrained: bool = True,
        size: int | None = 256,
        *,
        weights: str = "",
    ) -> None:
        super().__init__()
        if network not in DEFAULT_LAYERS:
            raise ConfigError(f"feature network {network!r} is unknown; expected {' or '.join(DEFAULT_LAYERS)}")
        self.network_name, self.size = network, size
        layers = tuple(layers or DEFAULT_LAYERS[network])
        if network == "efficientnet_lite0":
            if weights:
                raise ConfigError(f"feature_weights is {weights!r}, which is for vgg19; leave it out with {network!r}")
            self.network: nn.Module = Lite0Encoder(layers, pretrained)
        else:
            from partlib.vgg import VGG19Encoder

            self.network = VGG19Encoder(layers, pretrained, weights=weights)
        self.layers: tuple[str, ...] = self.network.levels
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
class FeatureBank:
    """Features of every image of a data set, computed once.

    ``levels`` is one array (N, C_l, h_l, w_l) float16 per layer, memory-mapped; ``layers`` are their names.
    """

    levels: list[np.ndarray]
    layers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.levels[0])

    def load(self, indices: Tensor | np.ndarray | list[int]) -> list[Tensor]:
        """float16 maps (B, C_l, h_l, w_l) of the images at ``indices``: half the bytes to move to a device."""
        pick = np.asarray(indices)
        return [torch.from_numpy(read_copy(level, pick)) for level in self.levels]

    def maps(self, loaded: list[Tensor], images: Tensor) -> list[Tensor]:
        """What :meth:`load` read, as float32."""
        return [z.float() for z in loaded]

    def batch(self, indices: Tensor | np.ndarray | list[int]) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l) of the images at ``indices``."""
        return [z.float() for z in self.load(indices)]


@dataclass
class LiveFeatures:
    """Features computed when they are needed, for images that change or are too many to keep the features of.

    Attributes
    ----------
    extractor : the frozen network.
    images : data set to take the network's images from, in the order of the training images; None for the training
        images themselves, as a batch has them.
    """

    extractor: PerceptualFeatures
    images: PartDataset | None = None

    def load(self, indices: list[int]) -> list[Tensor]:
        """The images (B, 3, S, S) that the network sees, where they are not the batch's."""
        return [] if self.images is None else [torch.stack([self.images[i].image for i in indices])]

    def maps(self, loaded: list[Tensor], images: Tensor) -> list[Tensor]:
        """float32 maps (B, C_l, h_l, w_l)."""
        return [z.float() for z in self.extractor(loaded[0] if loaded else images)]


def feature_bank(
    dataset: PartDataset, extractor: PerceptualFeatures, batch_size: int = 0, limit_gb: float | None = None
) -> FeatureBank:
    """Features of all images of ``dataset``; read from the cache where they have been computed before.

    ``limit_gb`` is the largest cache that may be made, in gigabytes. ``batch_size`` 0 takes 8 images at a time on a
    GPU, and 2 on a CPU, where more are not faster and take hundreds of megabytes.

    Raises
    ------
    ConfigError : the data set crops at random, so that an image has no features of its own; or the cache would be
        larger than ``limit_gb`` or than the free space.
    """
    if not dataset.fixed_crop:
        raise ConfigError(
            f"features of {dataset.name!r} cannot be cached: its crops are drawn anew every time; "
            "leave out the data options jitter and mirror"
        )
    key = [dataset.fingerprint(), _weights_digest(extractor), extractor.layers, extractor.size, len(dataset)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = cache_dir() / f"features-{digest}"
    files = [folder / f"{layer}.npy" for layer in extractor.layers]
    if not all(f.is_file() for f in files):
        check_room(bank_bytes(dataset, extractor), folder, limit_gb)
        batch_size = batch_size or (2 if next(extractor.parameters()).device.type == "cpu" else 8)
        _compute(dataset, extractor, batch_size, folder, files)
    return FeatureBank([np.load(f, mmap_mode="r") for f in files], extractor.layers)


def bank_bytes(dataset: PartDataset, extractor: PerceptualFeatures) -> int:
    """Size of the cache of features of ``dataset``, from the features of its first image."""
    device = next(extractor.parameters()).device
    return len(dataset) * sum(2 * z.numel() for z in extractor(dataset[0].image[None].to(device)))  # float16


def check_room(size: int, folder: Path, limit_gb: float | None) -> None:
    """Raise ConfigError where ``size`` bytes are more than the limit, or more than fit beside ``folder``."""
    if limit_gb is not None and size > limit_gb * 1e9:
        raise ConfigError(
            f"features would take {size / 1e9:.1f} GB, more than feature_cache_gb = {limit_gb:g}; raise it, lower "
            "feature_size or choose coarser feature_layers"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if size > free:
        raise ConfigError(
            f"features would take {size / 1e9:.1f} GB and {folder.parent} has {free / 1e9:.1f} GB free; set "
            "PARTLIB_CACHE to a larger disk, or feature_cache_gb below that size to compute them at every step"
        )


def _weights_digest(network: nn.Module) -> str:
    """Text that differs for networks with other weights: pretrained and random ones share no cache."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _compute(
    dataset: PartDataset, extractor: PerceptualFeatures, batch_size: int, folder: Path, files: list[Path]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = [f.with_suffix(f".{os.getpid()}.partial") for f in files]  # other processes may be computing the same
    device = next(extractor.parameters()).device
    arrays: list[np.ndarray] = []
    starts = range(0, len(dataset), batch_size)
    try:
        for start in tqdm(starts, desc=f"features of {dataset.name} {dataset.split}", leave=False):
            batch = collate([dataset[i] for i in range(start, min(start + batch_size, len(dataset)))])
            maps = [m.half().cpu().numpy() for m in extractor(batch.images.to(device))]
            if not arrays:
                arrays = [
                    np.lib.format.open_memmap(p, mode="w+", dtype=np.float16, shape=(len(dataset), *m.shape[1:]))
                    for p, m in zip(partial, maps, strict=True)
                ]
            for array, m in zip(arrays, maps, strict=True):
                array[start : start + len(m)] = m
        for array, source, target in zip(arrays, partial, files, strict=True):
            array.flush()  # type: ignore[attr-defined]
            source.replace(target)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)  # what an interruption leaves can be as large as the data set


@dataclass
class FeatureScaling:
    """Puts the feature channels of a network on one scale.

    Channels of an ImageNet network may differ much in size, and a squared distance would see the largest
    only. Each channel is standardised over the foreground of the training set; each position of each layer is then
    scaled to unit length, so that all positions weigh the same and |z - mu|^2 measures direction.

    Attributes
    ----------
    mean, std : per layer, (1, C_l, 1, 1).
    """

    mean: list[Tensor]
    std: list[Tensor]

    @classmethod
    def fit(cls, levels: Sequence[np.ndarray | Tensor], foregrounds: Tensor) -> "FeatureScaling":
        """Statistics of the layers (N, C_l, h_l, w_l) over their cells under the foregrounds (N, 1, H, W)."""
        statistics = [_channel_statistics(level, foregrounds) for level in levels]
        return cls([mean for mean, _ in statistics], [std for _, std in statistics])

    def to(self, device: torch.device | str) -> "FeatureScaling":
        """The same on ``device``."""
        return FeatureScaling([m.to(device) for m in self.mean], [s.to(device) for s in self.std])

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        """Scaled copies of the maps (B, C_l, h_l, w_l)."""
        return [
            F.normalize((z - mean.to(z.device)) / std.to(z.device), dim=1)
            for z, mean, std in zip(features, self.mean, self.std, strict=True)
        ]


def read_copy(array: np.ndarray, pick: slice | np.ndarray) -> np.ndarray:
    """A copy of ``array[pick]``: PyTorch wants memory it may write to, which a memory map need not be.

    A memory map is opened anew for it: pages stay in the memory of a process as long as the map that read them.
    """
    whole = isinstance(getattr(array, "base", None), mmap)  # a view of a map does not know its place in the file
    if isinstance(array, np.memmap) and array.filename is not None and whole and array.flags.c_contiguous:
        array = np.memmap(array.filename, array.dtype, "r", array.offset, array.shape)
    return np.array(array[pick])


def weigh_levels(features: list[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """Each layer times its weight (``TrainConfig.feature_level_weights``); no weights leave them as they are."""
    return [weight * z for weight, z in zip(weights, features, strict=True)] if weights else features


def foreground_cells(foregrounds: Tensor, size: Sequence[int]) -> Tensor:
    """Which cells (B, 1, h, w) of a map of ``size`` (h, w) are mostly foreground (B, 1, H, W)."""
    return F.adaptive_avg_pool2d((foregrounds > 0.5).float(), (size[-2], size[-1])) > 0.5


def _channel_statistics(level: np.ndarray | Tensor, foregrounds: Tensor, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (1, C, 1, 1) each, over the foreground cells; a batch in memory at a time."""
    count, total, squares = 0.0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for start in range(0, len(level), batch):
        pick = slice(start, start + batch)
        chunk = read_copy(level, pick) if isinstance(level, np.ndarray) else level[pick]
        values = (torch.from_numpy(chunk) if isinstance(chunk, np.ndarray) else chunk).double()
        weight = foreground_cells(foregrounds[start : start + batch], values.shape).double()  # (B, 1, h, w)
        count += float(weight.sum())
        values = values * weight  # weights are 0 or 1, so that the square below needs none
        total = total + values.sum((0, 2, 3))  # (C,)
        squares = squares + values.square_().sum((0, 2, 3))  # (C,)
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean**2).clamp(min=1e-12).sqrt()
    return mean.float().view(1, -1, 1, 1), std.float().view(1, -1, 1, 1)
