"""A whole training step, from the stored images to the updated weights, at the paper's setting: ResNet-50 (DeepLab-v2)
on both views, VGG19 for the features, SGD. Random weights: they take as long as trained ones."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count

import numpy as np
import torch
from torch import Tensor

from benchmarks.cases import SIZES, Case, Shape
from partlib.config import TrainConfig
from partlib.data.base import ArrayDataset
from partlib.execution import Execution
from partlib.objective import step_generator
from partlib.optimizer import build_optimizer
from partlib.segmenter import PartSegmenter
from partlib.training import Trainer
from tests import plain_step as formulas

Step = Callable[[], dict[str, Tensor]]


def random_images(number: int, side: int) -> ArrayDataset:
    """Noise, with an ellipse for a foreground."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    foreground = np.repeat(((x / 0.8) ** 2 + (y / 0.6) ** 2 < 1)[None].astype(np.uint8) * 255, number, axis=0)
    return ArrayDataset(
        generator.integers(0, 256, (number, side, side, 3), dtype=np.uint8),
        foreground,
        parts=None,
        keypoints=None,
        labels=np.zeros(number, dtype=np.int64),
        names=[str(i) for i in range(number)],
        fingerprint=f"noise-{number}-{side}",
        **{"name": "noise", "split": "train"},
    )


def configuration(shape: Shape) -> TrainConfig:
    """The paper's networks, losses and optimiser; BatchNorm frozen, so that a view does not depend on the other."""
    networks = {"backbone": "resnet50", "feature_network": "vgg19", "pretrained": False, "batchnorm": "frozen"}
    weights = {"feature": 5.0, "visual": 30.0, "contrastive": 2300.0, "equivariance": 5700.0, "lab_scale": 1.0}
    optimizer = {"optimizer": "sgd", "lr": 1e-4, "backbone_lr": 1e-5, "weight_decay": 5e-4, "steps": 100_000}
    sizes = {"image_size": shape.side, "feature_size": shape.side, "num_parts": shape.parts, "batch_size": shape.images}
    quiet = {"eval_every": 0, "log_every": 0, "checkpoint_every": 0, "normalize_features": False}
    return TrainConfig.from_dict({**networks, **weights, **optimizer, **sizes, **quiet})


def trainer(shape: Shape, device: torch.device, cached: bool = False) -> Trainer:
    """A trainer on noise, its features computed at every step, or cached."""
    execution = Execution(feature_cache_gb=20 if cached else 0)
    built = Trainer(configuration(shape), str(device), (random_images(2 * shape.images, shape.side), None), execution)
    _calibrate(built)
    return built


@torch.no_grad()
def _calibrate(built: Trainer) -> None:
    """Give BatchNorm the statistics of the images: with those of the initial state the activations would explode."""
    layers = [m for m in built.segmenter.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.momentum = 1.0
        layer.train()
    built.segmenter(built.batch(0)[0].images[:2])
    for layer in layers:
        layer.eval()


class Variants(Mapping[str, Step]):
    """Variants of the step, each made when it is asked for: none takes memory while another is measured."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        self.makers: dict[str, Callable[[], Step]] = {
            "plain": lambda: plain_step(trainer(shape, device)),
            "partlib": lambda: trainer(shape, device).advance,
            "partlib, cached features": lambda: trainer(shape, device, cached=True).advance,
            "networks alone": lambda: networks_alone(trainer(shape, device)),
        }

    def __getitem__(self, name: str) -> Step:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def plain_step(built: Trainer) -> Step:
    """The plain step with a copy of the trainer's segmenter, on its images and with its random numbers."""
    segmenter = copy.deepcopy(built.segmenter).to(memory_format=torch.contiguous_format)
    optimizer = build_optimizer(segmenter, built.config)
    extractor = built.features.extractor  # type: ignore[union-attr]
    steps = count()

    def step() -> dict[str, Tensor]:
        number = next(steps)
        batch, _ = built.load(number)
        generator = step_generator(built.config.seed, number)
        return formulas.step(segmenter, extractor, optimizer, batch.images, batch.foreground, built.config, generator)

    return step


def networks_alone(built: Trainer) -> Step:
    """What no step can do without: the segmenter on both views, there and back, and the feature network once."""
    batch, _ = built.load(0)
    views = torch.cat([batch.images, batch.images])  # (2B, 3, H, W)
    extractor = built.features.extractor  # type: ignore[union-attr]

    def step() -> dict[str, Tensor]:
        with built.execution.autocast(built.device):
            extractor(batch.images)
        built.optimizer.zero_grad()
        logits = built.forward(views)
        logits.backward(torch.ones_like(logits))
        return {}

    return step


def differences(shape: Shape, device: torch.device) -> dict[str, float]:
    """Relative differences of losses and gradient between plain and library, all in float64.

    In float32 rounding alone moves the gradient of the random network by some percent, whatever computes the losses.
    """
    built = trainer(shape, device)
    segmenter, config = built.segmenter.double(), built.config
    extractor = built.features.extractor.double()  # type: ignore[union-attr]
    batch, _ = built.load(0)
    batch = replace(batch, images=batch.images.double(), foreground=batch.foreground.double())
    found = built.objective(segmenter, batch, extractor(batch.images), step_generator(config.seed, 0))
    expected = formulas.losses(
        segmenter, extractor, batch.images, batch.foreground, config, step_generator(config.seed, 0)
    )
    ours, wanted = _gradient(found["total"], segmenter), _gradient(expected["total"], segmenter)
    return {
        "loss error": max(abs(found[name].item() / expected[name].item() - 1) for name in expected),
        "gradient error": float((ours - wanted).norm() / wanted.norm()),
    }


def _gradient(loss: Tensor, segmenter: PartSegmenter) -> Tensor:
    """Gradient in all weights, one vector."""
    trained = [p for p in segmenter.parameters() if p.requires_grad]
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)])


STEP = Case(
    "training step at the paper's setting",
    Variants,
    goals={"time": 3, "memory": 4},
    needs_gb=18,
    memory=True,
    heavy=True,
    check=lambda shape, device: differences(SIZES["small"], device),
)
