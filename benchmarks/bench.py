"""What is measured, each case as the plain formula and as the library, and how.

Every variant is measured in a process of its own, where nothing else has been allocated before.
"""

import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from partlib import distributed, losses, metrics, warps
from partlib.augment import rgb_to_lab
from partlib.config import TrainConfig
from partlib.data import Batch, PartDataset, collate, load_dataset
from partlib.features import Features, PerceptualFeatures
from partlib.loader import batch_indices, step_generator
from partlib.objective import Objective
from partlib.runs.build import Recipe, Runtime, Scale, build_trainer
from partlib.training import Trainer
from tests import plain

Call = Callable[[], Any]
CACHED, FLOOR = "partlib, cached features", "networks alone"
LONGEST = 60.0  # seconds of measurement, after which a variant is not run again
LINKS = {"1 Gbit/s Ethernet": 0.125e9, "10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 25e9, "NVLink 4": 450e9}  # bytes/s


@dataclass(frozen=True)
class Shape:
    """Sizes of inputs: images, parts, image side, feature levels (channels, side), pixels to score."""

    images: int = 6
    parts: int = 4
    side: int = 256
    levels: tuple[tuple[int, int], ...] = ((256, 64), (512, 16))  # VGG19 relu3_2 and relu5_4 at 256 pixels
    pixels: int = 10_000_000

    def __str__(self) -> str:
        levels = " + ".join(f"{channels}@{side}x{side}" for channels, side in self.levels)
        return f"{self.images} images of {self.side}x{self.side}, {self.parts} parts, features {levels}"


# "paper" is the paper's setting. "small" shows the order of magnitude in seconds, "tiny" warms up.
SIZES = {
    "paper": Shape(),
    "small": Shape(2, 4, 96, ((96, 24), (96, 6)), 200_000),
    "tiny": Shape(2, 2, 32, ((8, 8), (8, 4)), 1_000),
}


@dataclass(frozen=True)
class Case:
    """One row: ``build(variant, shape, device)`` makes the function to measure; ``goals`` are times better than plain.

    ``needs_gb`` is the memory that the plain variant takes at the paper's size.
    """

    title: str
    build: Callable[[str, Shape, torch.device], Call]
    goals: dict[str, float] = field(default_factory=dict)
    needs_gb: float = 1
    memory: bool = True
    variants: tuple[str, ...] = ("plain", "partlib")


def random(seed: int, *size: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def with_gradient(loss: Callable[[Tensor], Tensor], argument: Tensor) -> Call:
    """A function that takes the value of a loss and its gradient in ``argument``."""

    def call() -> tuple[Tensor, Tensor]:
        leaf = argument.detach().requires_grad_()
        value = loss(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    return call


def of_maps(formula: Callable[..., Tensor], ours: Callable[..., Tensor]) -> Callable[[str, Shape, torch.device], Call]:
    """``build`` of two losses of part maps (B, K, H, W), foreground, feature levels and Lab colors."""

    def build(variant: str, shape: Shape, device: torch.device) -> Call:
        size, loss = (shape.side, shape.side), formula if variant == "plain" else ours
        foreground = (random(0, shape.images, 1, *size) > 0.4).float()  # (B, 1, H, W)
        logits = 6 * random(1, shape.images, shape.parts, shape.side // 8, shape.side // 8)
        maps = plain.upsample(logits, size).softmax(dim=1) * foreground
        levels = [random(channels, shape.images, channels, low, low).to(device) for channels, low in shape.levels]
        lab = rgb_to_lab(random(2, shape.images, 3, *size).to(device))
        return with_gradient(lambda m: loss(m, foreground.to(device), levels, lab), maps.to(device))

    return build


def contrastive_loss(variant: str, shape: Shape, device: torch.device) -> Call:
    channels = sum(channels for channels, _ in shape.levels)
    loss = plain.contrastive_loss if variant == "plain" else losses.contrastive_loss
    descriptors = random(3, shape.images, shape.parts, channels).to(device) - 0.5
    return with_gradient(partial(loss, temperature=0.19), descriptors)


def warp_grids(variant: str, shape: Shape, device: torch.device) -> Call:
    points, size = warps.random_points(shape.images, torch.Generator().manual_seed(4)), (shape.side, shape.side)
    if variant == "partlib":
        return lambda: warps.thin_plate_grid(points.to(device), size)
    pixels = plain.pixels_from_lists if variant == "plain" else plain.pixels_from_tensors
    return lambda: plain.thin_plate_grid(points, size, pixels).to(device)


def part_scores(variant: str, shape: Shape, device: torch.device) -> Call:
    target, noise = (10 * random(5, shape.pixels)).to(torch.uint8), (5 * random(6, shape.pixels)).to(torch.uint8)
    found = torch.where(random(7, shape.pixels) < 0.5, target // 2, noise)  # half of the labels fit
    if variant == "plain":
        return lambda: plain.part_scores(found.numpy(), target.numpy())
    found, target = found.to(device), target.to(device)
    return lambda: metrics.PartScores(4, 9).update(found, target).compute()


def keypoint_error(variant: str, shape: Shape, device: torch.device) -> Call:
    centers, keypoints = random(8, 1200, shape.parts, 2).double(), random(9, 1200, 15, 3).double()
    keypoints[..., 2] = (keypoints[..., 2] > 0.3).double()
    halves = [x.numpy() for x in (centers[:600], keypoints[:600], centers[600:], keypoints[600:])]  # to fit, to test
    return partial(plain.keypoint_error if variant == "plain" else metrics.keypoint_regression_error, *halves)


# A training step at the paper's setting: ResNet-50 (DeepLab-v2) on both views, VGG19 for the features, SGD, BatchNorm
# frozen, so that a view does not depend on the other. Random weights: they take as long as trained ones.
WEIGHTS = {"feature": 5.0, "visual": 30.0, "contrastive": 2300.0, "equivariance": 5700.0}
RATES = {"backbone_lr": 1e-5, "lr": 1e-4}
PAPER: dict[str, Any] = {"arch": "deeplab_resnet50:random", "feature_network": "vgg19:random", "steps": 100_000}


class PaperStep(Recipe):
    """Features as they are, Lab in its own unit, SGD."""

    def scale(self, features: Features, train_set: PartDataset, device: torch.device) -> Scale:
        return lambda maps: maps

    def objective(self) -> Objective:
        objective = super().objective()
        objective.lab_scale = 1.0
        return objective

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)


def paper_step(shape: Shape, device: torch.device, cached: bool = False) -> tuple[Trainer, nn.Module, Callable]:
    """Trainer, frozen network, and step number -> batch."""
    sizes = {"image_size": shape.side, "feature_size": shape.side, "num_parts": shape.parts, "batch_size": shape.images}
    weights = {f"lambda_{name}": value for name, value in WEIGHTS.items()}
    config = TrainConfig.from_dict({**PAPER, **weights, **RATES, **sizes})
    dataset = load_dataset("birds", "train", None, shape.side, num_images=2 * shape.images)

    def batch(step: int) -> Batch:
        return collate([dataset[i] for i in batch_indices(len(dataset), shape.images, 0, step)]).to(device)

    runtime = Runtime(feature_cache_gb=20 if cached else 0)
    trainer = build_trainer(config, str(device), dataset, runtime, PaperStep)
    # BatchNorm gets the statistics of the images: with those of the initial state the activations would explode
    layers = [m for m in trainer.segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.train().momentum = 1.0
    with torch.no_grad():
        trainer.segmenter(batch(0).images)
    for layer in layers:
        layer.eval()
    return trainer, PerceptualFeatures("vgg19", None, "random", shape.side).to(device), batch


def training_step(variant: str, shape: Shape, device: torch.device) -> Call:
    trainer, extractor, batch = paper_step(shape, device, cached=variant == CACHED)
    if variant.startswith("partlib"):
        return trainer.advance
    segmenter, steps, first = trainer.segmenter, count(), batch(0)
    if variant == FLOOR:  # what no step can do without: the segmenter on both views, there and back, the features once

        def networks_alone() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                extractor(first.images)
                logits = segmenter(torch.cat([first.images, first.images]))
            segmenter.zero_grad()
            logits.backward(torch.ones_like(logits))

        return networks_alone
    segmenter.to(memory_format=torch.contiguous_format)
    encoder = [p for p in segmenter.encoder.parameters() if p.requires_grad]
    decoder = list(segmenter.decoder.parameters())
    groups = [{"params": encoder, "lr": RATES["backbone_lr"]}, {"params": decoder, "lr": RATES["lr"]}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)

    def plain_step() -> dict[str, Tensor]:
        now, generator = batch(number := next(steps)), step_generator(0, number)
        return plain.step(optimizer, segmenter, extractor, now.images, now.foreground, WEIGHTS, generator)

    return plain_step


FEATURE = of_maps(
    lambda m, f, z, lab: plain.low_resolution_consistency_loss(m, z, f).mean(),
    lambda m, f, z, lab: losses.consistency_loss(m, z, f),
)
VISUAL = of_maps(
    lambda m, f, z, lab: plain.consistency_loss(m, lab, f).mean(),
    lambda m, f, z, lab: losses.consistency_loss(m, lab, f),
)
DESCRIPTORS = of_maps(
    lambda m, f, z, lab: plain.part_descriptors(m, plain.stacked(z, m.shape[2:])).square().mean(),
    lambda m, f, z, lab: losses.part_descriptors(m, z).square().mean(),
)
GRIDS = ("plain", "partlib", "rebuilt without Python lists")
STEPS = ("plain", "partlib", CACHED, FLOOR)
CASES = {
    "feature-loss": Case("feature loss, forward and backward", FEATURE, {"time": 50, "memory": 100}, 14),
    "visual-loss": Case("visual loss, forward and backward", VISUAL),
    "descriptors": Case("part descriptors, forward and backward", DESCRIPTORS, needs_gb=8),
    "contrastive-loss": Case("contrastive loss, all positives, forward and backward", contrastive_loss, memory=False),
    "warps": Case("thin-plate grids of a batch", warp_grids, {"time": 20}, memory=False, variants=GRIDS),
    "scores": Case("NMI and ARI of 10 classes", part_scores),
    "keypoints": Case("keypoint regression, 15 keypoints, 600 + 600 images", keypoint_error, memory=False),
    "step": Case("training step at the paper's setting", training_step, {"time": 3, "memory": 4}, 18, variants=STEPS),
}


def in_processes(function: Callable[..., Any], *arguments: tuple) -> list[Any]:
    """``function(*one)`` for every one of ``arguments``, each in a new process, all at once; they share a new cache."""
    with (
        TemporaryDirectory() as cache,
        patch.dict(os.environ, PARTLIB_CACHE=cache),
        ProcessPoolExecutor(len(arguments), mp_context=get_context("spawn")) as pool,
    ):
        return list(pool.map(function, *zip(*arguments, strict=True)))


def measure(name: str, variant: str, size: str, device: str, threads: int, runs: int) -> dict[str, Any]:
    """Seconds of each run, and by how many megabytes memory grew at the peak of a call, where the system tells."""
    torch.set_num_threads(threads)
    case, place = CASES[name], torch.device(device)
    case.build(variant, SIZES["tiny"], place)()  # loads code and libraries, which are not the formula's memory
    function = case.build(variant, SIZES[size], place)
    before = peak_memory(place, forget=True)
    function()
    after = peak_memory(place)
    timer = Timer("function()", globals={"function": function}, num_threads=threads)
    seconds: list[float] = []
    while len(seconds) < runs and sum(seconds) < LONGEST:
        seconds.append(timer.blocked_autorange(min_run_time=0.1).median)
    found: dict[str, Any] = {"seconds": median(seconds), "seconds of every run": seconds}
    if case.memory and before is not None and after is not None:
        found["megabytes"] = max(after - before, 100_000) / 1e6  # below that it is noise
    return found


def peak_memory(device: torch.device, forget: bool = False) -> int | None:
    """Largest memory in bytes so far, since the last call with ``forget``; None where the system does not tell."""
    if device.type == "cuda":
        if forget:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    if forget and Path("/proc/self/clear_refs").exists():
        with suppress(AttributeError):  # another C library than GNU's
            ctypes.CDLL(None).malloc_trim(0)  # freed memory would be used again, and not show as growth
        Path("/proc/self/clear_refs").write_text("5")
    return from_proc("self/status", "VmHWM")


def from_proc(file: str, entry: str) -> int | None:
    """Bytes that Linux tells under ``entry`` of ``/proc/file``; None elsewhere."""
    path = Path("/proc") / file
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")), None)


def step_of_rank(rank: int, processes: int, port: int, device: str, steps: int) -> tuple[float, float]:
    """Seconds of a step of one of several processes, with 6 images and one thread each, and bytes of its gradient."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.processes(device):
        with distributed.local_main_first():
            dataset = load_dataset("birds", "train", num_images=24)
        trainer = build_trainer(TrainConfig(batch_size=6 * processes, steps=1000), device, dataset)
        timer = Timer("step()", globals={"step": lambda: trainer.advance()["total"].item()})
        return timer.timeit(steps).mean, sum(4.0 * p.numel() for p in trainer.segmenter.parameters() if p.requires_grad)


def scaling(device: str, size: str) -> dict[str, Any]:
    """Efficiency (images per second and process) of two processes on this machine, and simulated of more.

    The simulation knows one cost of a further process, the exchange of gradients, none of it hidden behind the backward
    pass: a ring all-reduce of G bytes among N processes sends 2 (N - 1) / N G bytes through every link.
    """
    seconds = {}
    for n in (1, 2) if device == "cpu" else range(1, min(2, torch.cuda.device_count()) + 1):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        found = in_processes(step_of_rank, *((rank, n, port, device, 8 if size == "paper" else 3) for rank in range(n)))
        seconds[n], gradient = found[0]
    return {
        "title": "images per second and process, 6 images each, birds at 128 pixels, efficientnet_lite0",
        **{"size": size, "device": device, "gradient megabytes": gradient / 1e6},
        "measured": {str(n): {"seconds per step": s, "efficiency": seconds[1] / s} for n, s in seconds.items()},
        "simulated from one process": {
            link: {str(n): efficiency(seconds[1], gradient, n, speed) for n in (1, 2, 4, 8, 16)}
            for link, speed in LINKS.items()
        },
    }


def efficiency(step_seconds: float, gradient_bytes: float, processes: int, bytes_per_second: float) -> float:
    """Of ``processes``, against one alone, every process with a batch of the same size."""
    exchange = 2 * (processes - 1) / processes * gradient_bytes / bytes_per_second
    return step_seconds / (step_seconds + exchange)
