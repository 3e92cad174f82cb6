"""From a configuration to the parts of a run. This is the door at which the configuration stops."""

import ctypes
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partlib import distributed
from partlib.config import LOSSES, TrainConfig
from partlib.data import LARGEST_SIZE, PartDataset, load_dataset, read_options
from partlib.errors import ConfigError
from partlib.features import CachedFeatures, Features, FeatureScaling, PerceptualFeatures, cached_features, features_of
from partlib.loader import StepBatches, StepLoader, view_bank
from partlib.objective import Objective
from partlib.segmenter import PartSegmenter, resize
from partlib.training import Schedule, Trainer

STRIDE = 104_729  # far apart, so that no start of one seed is a start of another seed that people choose
Scale = Callable[[list[Tensor]], list[Tensor]]


def pick_device(name: str = "auto") -> torch.device:
    """The named device, or the fastest there is."""
    try:
        fastest = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.empty(0, device=fastest if name == "auto" else name).device
    except (RuntimeError, AssertionError) as error:  # PyTorch raises either
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); expected auto, cpu or cuda") from error


def release_memory() -> None:
    """Give the system back what is free: Linux's C library would keep it, some 300 MB after a training run."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # not every C library has it
        trim(0)


@dataclass(frozen=True)
class Runtime:
    """Settings that make a run faster or smaller; results stay equal up to rounding."""

    precision: str = "auto"  # of activations: "float32", "bfloat16" (autocast), or the latter on GPUs that have it
    compile: bool = False  # compile the segmenter with torch.compile, which takes minutes at the start; for GPUs
    workers: int | None = None  # processes that read images ahead; None for 4 with a GPU, none on the CPU
    feature_cache_gb: float = 20.0  # largest cache of features or of views, in 10^9 bytes; larger features are not kept

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"precision is {self.precision!r}; expected one of auto, float32, bfloat16")
        for name, most in (("workers", 256), ("feature_cache_gb", math.inf)):
            if not 0 <= (getattr(self, name) or 0) <= most:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 0 and at most {most}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context in which a network runs on ``device``."""
        automatic = self.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        half = automatic or self.precision == "bfloat16"
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)

    def number_of_workers(self, device: torch.device) -> int:
        """Processes that read ahead for ``device``; 4 are enough for 256-pixel images on one GPU."""
        usual = min(4, os.cpu_count() or 1) if device.type == "cuda" else 0
        return usual if self.workers is None else self.workers


def training_forward(
    network: nn.Module, device: torch.device, runtime: Runtime, size: int | None = None
) -> Callable[[Any], Tensor]:
    """The network as a training step calls it, replicated over the ranks: what it sees -> float32 logits (B, K, H, W).

    A decoder alone gives the small logits of its finest map, which are brought to ``size`` pixels.
    """
    network = distributed.replicate(network)
    network = torch.compile(network) if runtime.compile else network  # type: ignore[assignment]

    def forward(inputs: Any) -> Tensor:
        with runtime.autocast(device):
            logits: Tensor = network(inputs)
        logits = logits.float()  # autocast ends here: warps, colors and losses do not survive eight bits of mantissa
        return logits if size is None else resize(logits, (size, size))

    return forward


class Recipe:
    """What a configuration names, made: one method for each part of a run. The paper's recipe overrides some."""

    batchnorm = "frozen"

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        if config.quirks and type(self) is Recipe:
            quirks = ", ".join(config.quirks)
            raise ConfigError(f"quirks is {quirks}, the paper's; pass recipe=partlib.paper.release.PaperRecipe")

    def dataset(self, split: str = "train", image_size: int = 0, *, fixed_crop: bool = False) -> PartDataset:
        """One split at the configuration's image size or another; random crops in the training split alone."""
        c = self.config
        left_out = ("jitter", "mirror") if fixed_crop or split != "train" else ()
        options = {key: value for key, value in read_options(c.data, c.data_options).items() if key not in left_out}
        dataset = self.load(split, image_size or c.image_size, options)
        if split == "train" and 0 < c.num_images < len(dataset):
            dataset = dataset.subset(range(c.num_images))
        if split == "train" and len(dataset) < c.batch_size:
            found = f"batch_size is {c.batch_size} but {c.data} has {len(dataset)} training images"
            raise ConfigError(f"{found}; take a smaller one")
        return dataset

    def load(self, split: str, image_size: int, options: dict[str, Any]) -> PartDataset:
        return load_dataset(self.config.data, split, self.config.root or None, image_size, **options)

    def segmenter(self, start: int = 0) -> PartSegmenter:
        """The untrained network of one start, the same every time."""
        torch.manual_seed(self.config.seed + STRIDE * start)
        arch, _, weights = self.config.arch.partition(":")
        return PartSegmenter(self.config.num_parts, arch, weights, batchnorm=self.batchnorm)

    def extractor(self, device: str | torch.device = "cpu") -> PerceptualFeatures:
        """The frozen network of the perceptual features."""
        network, _, weights = self.config.feature_network.partition(":")
        return PerceptualFeatures(network, self.config.feature_layers, weights, self.config.feature_size).to(device)

    def features(
        self, split: str = "train", device: str | torch.device = "cpu", dataset: PartDataset | None = None
    ) -> CachedFeatures:
        """Features of a whole split from the cache, of its own larger images; or of ``dataset``, enlarged."""
        source = dataset if dataset is not None else self.dataset(split, self.feature_size(), fixed_crop=True)
        return cached_features(source, self.extractor(device))

    def feature_size(self) -> int:
        return min(self.config.feature_size, LARGEST_SIZE.get(self.config.data, self.config.feature_size))

    def scale(self, features: Features, train_set: PartDataset, device: torch.device) -> Scale:
        """What is done to feature maps before the losses see them."""
        if not train_set.fixed_crop:
            problem = "random crops (data options jitter, mirror) have no fixed features to take statistics of"
            raise ConfigError(f"{problem}; leave them out, or use --preset paper, which takes features as they are")
        return FeatureScaling.of(features, train_set).to(device)

    def objective(self) -> Objective:
        return Objective(self.config.temperature)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Adam; one fused kernel for all parameters on a GPU."""
        return torch.optim.Adam(groups, fused=groups[-1]["params"][0].is_cuda or None)

    def schedule(self) -> Schedule:
        c = self.config
        return Schedule(c.steps, {name: c.weight(name) for name in LOSSES}, c.lambda_visual_end)


def build_trainer(config: TrainConfig, *arguments: Any, **options: Any) -> Trainer:
    """The first of :func:`build_trainers`."""
    return build_trainers(config.replace(starts=1), *arguments, **options)[0]


def build_trainers(
    config: TrainConfig,
    device: str = "auto",
    train_set: PartDataset | None = None,
    runtime: Runtime | None = None,
    recipe: type[Recipe] = Recipe,
) -> list[Trainer]:
    """A run before its first step, from each of its starts, on the images that ``config`` names or on ``train_set``."""
    runtime, place, parts = runtime or Runtime(), pick_device(device), recipe(config)
    # Data
    with distributed.local_main_first():
        images = train_set if train_set is not None else parts.dataset("train")
    # Networks; channels last: the convolutions of CPUs and GPUs alike are written for it (a third faster here)
    networks = [parts.segmenter(start) for start in range(config.starts)]
    networks = [segmenter.to(place).to(memory_format=torch.channels_last) for segmenter in networks]
    # Features of the images, cached or live
    features, scale = None, None
    if config.lambda_feature or config.lambda_contrastive:
        with distributed.local_main_first():
            # of the same crops at the size that the network wants, where the data set has them
            both = train_set is None and images.fixed_crop
            larger = parts.dataset("train", parts.feature_size()) if both else None
            features = features_of(images, parts.extractor(place), larger, runtime.feature_cache_gb)
            scale = parts.scale(features, images, place)
    # What a frozen encoder sees of views of the images
    bank = None
    if config.views:
        encoder = networks[0].encoder.requires_grad_(False)
        for segmenter in networks:
            segmenter.encoder = encoder
        with distributed.local_main_first():
            bank = view_bank(images, encoder.eval(), config.views, config.loss_size, runtime.feature_cache_gb)
    batches = StepBatches(images, features, config.batch_size, config.seed, config.steps, bank)
    loader = StepLoader(batches, place, scale, runtime.number_of_workers(place), lambda: runtime.autocast(place))
    return [_trainer(segmenter.train(), loader, parts, place, runtime) for segmenter in networks]


def _trainer(
    segmenter: PartSegmenter, loader: StepLoader, parts: Recipe, place: torch.device, runtime: Runtime
) -> Trainer:
    config, size = parts.config, None
    network: nn.Module = segmenter
    if segmenter.batchnorm != "frozen" and place.type == "cuda" and distributed.world_size() > 1:
        from timm.layers import convert_sync_batchnorm  # on use: it takes seconds

        convert_sync_batchnorm(segmenter)  # statistics of all ranks; PyTorch has no such layer for CPUs
    if loader.batches.bank is not None:
        network, size = segmenter.decoder, config.loss_size
    # Encoder and decoder with their own learning rates
    encoder = [p for p in segmenter.encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": encoder, "lr": config.backbone_lr}] if encoder else []
    groups.append({"params": list(segmenter.decoder.parameters()), "lr": config.lr})
    optimizer, schedule = parts.optimizer(groups), parts.schedule()
    forward = training_forward(network, place, runtime, size)
    return Trainer(segmenter, loader, parts.objective(), optimizer, schedule, config.seed, forward)
