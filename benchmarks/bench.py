"""What is measured, each case as plain formula and as library, and how: every variant in a process of its own."""

import ctypes
import os
import re
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from partlib import distributed, losses, metrics, warps
from partlib.augment import rgb_to_lab
from partlib.config import TrainConfig
from partlib.data import load_dataset
from partlib.loader import step_generator
from partlib.runs.build import Runtime, build_trainer
from partlib.training import Trainer
from tests import plain

CACHED, FLOOR = "partlib, cached features", "networks alone"
LONGEST = 60.0  # seconds of measurement, after which a variant is not run again
LINKS = {"1 Gbit/s Ethernet": 0.125e9, "10 Gbit/s Ethernet": 1.25e9, "PCIe 4 x16": 25e9, "NVLink 4": 450e9}  # bytes/s


class Shape(NamedTuple):  # sizes of inputs
    images: int
    parts: int
    side: int
    levels: tuple[tuple[int, int], ...]  # of features: channels and side
    pixels: int  # to score

    def __str__(self) -> str:
        levels = " + ".join(f"{channels}@{side}x{side}" for channels, side in self.levels)
        return f"{self.images} images of {self.side}x{self.side}, {self.parts} parts, features {levels}"


Call = Callable[[], Any]
SIZES = {
    "paper": Shape(6, 4, 256, ((256, 64), (512, 16)), 10_000_000),  # VGG19's relu3_2 and relu5_4
    "small": Shape(2, 4, 96, ((96, 24), (96, 6)), 200_000),  # shows the order of magnitude in seconds
    "tiny": Shape(2, 2, 32, ((8, 8), (8, 4)), 1_000),  # warms up
}


class Case(NamedTuple):
    """One row of the table."""

    title: str
    build: Callable[[str, Shape, torch.device], Call]  # variant, sizes, device -> the function to measure
    goals: dict[str, float] | None = None  # times better than plain
    needs_gb: float = 1  # memory that the plain variant takes at the paper's size
    memory: bool = True  # whether it is compared
    variants: tuple[str, ...] = ("plain", "partlib")


def random(seed: int, *size: int) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


def with_gradient(loss: Callable[[Tensor], Tensor], argument: Tensor) -> tuple[Tensor, Tensor]:
    leaf = argument.detach().requires_grad_()
    value = loss(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def map_loss(formula: Callable, ours: Callable, colors: bool, variant: str, shape: Shape, device: torch.device) -> Call:
    """Mean of a loss of part maps (B, K, H, W), feature levels or else Lab colors, and foreground (B, 1, H, W)."""
    size, loss = (shape.side, shape.side), formula if variant == "plain" else ours
    foreground = (random(0, shape.images, 1, *size) > 0.4).float().to(device)
    logits = 6 * random(1, shape.images, shape.parts, shape.side // 8, shape.side // 8).to(device)
    maps = plain.upsample(logits, size).softmax(dim=1) * foreground
    levels = [random(channels, shape.images, channels, low, low).to(device) for channels, low in shape.levels]
    targets = rgb_to_lab(random(2, shape.images, 3, *size).to(device)) if colors else levels
    return partial(with_gradient, lambda m: loss(m, targets, foreground).mean(), maps)


def contrastive_loss(variant: str, shape: Shape, device: torch.device) -> Call:
    channels = sum(channels for channels, _ in shape.levels)
    loss = plain.contrastive_loss if variant == "plain" else losses.contrastive_loss
    descriptors = random(3, shape.images, shape.parts, channels).to(device) - 0.5
    return partial(with_gradient, partial(loss, temperature=0.19), descriptors)


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
    return lambda: metrics.PartScores().update(found, target).compute()


def keypoint_error(variant: str, shape: Shape, device: torch.device) -> Call:
    centers = random(8, 2, 600, shape.parts, 2).double().numpy()  # to fit, to test
    keypoints = random(9, 2, 600, 15, 3).double().numpy()
    keypoints[..., 2] = keypoints[..., 2] > 0.3
    error = plain.keypoint_error if variant == "plain" else metrics.keypoint_regression_error
    return partial(error, centers[0], keypoints[0], centers[1], keypoints[1])


# A training step at the paper's setting: ResNet-50 (DeepLab-v2) on both views, VGG19 for the features, SGD, BatchNorm
# frozen, so that a view does not depend on the other. Random weights: they take as long as trained ones.
PAPER: dict[str, Any] = {"arch": "deeplab_resnet50:random", "feature_network": "vgg19:random", "quirks": []}


def paper_step(shape: Shape, device: torch.device, cached: bool = False) -> Trainer:
    sizes = {"image_size": shape.side, "feature_size": shape.side, "num_parts": shape.parts, "batch_size": shape.images}
    dataset = load_dataset("birds", "train", None, shape.side, num_images=2 * shape.images)
    runtime = Runtime(feature_cache_gb=20 if cached else 0)
    trainer = build_trainer(TrainConfig.preset("paper", **PAPER, **sizes), str(device), dataset, runtime)
    trainer.objective.lab_scale, trainer.loader.scale = 1.0, None  # colors and features as they are
    groups = [{"params": group["params"], "lr": group["lr"]} for group in trainer.optimizer.param_groups]
    trainer.optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    # BatchNorm gets the statistics of the images: with those of the initial state the activations would explode
    for layer in trainer.segmenter.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train().momentum = 1.0
    with torch.no_grad():
        trainer.segmenter(trainer.loader.batches[0][0].images.to(device))
    trainer.segmenter.train()  # frozen again
    return trainer


def training_step(variant: str, shape: Shape, device: torch.device) -> Call:
    trainer = paper_step(shape, device, cached=variant == CACHED)
    if variant.startswith("partlib"):
        return trainer.advance
    segmenter, batches = trainer.segmenter, trainer.loader.batches
    extractor, batch = batches.features.extractor, batches[0][0].to(device)

    def networks_alone() -> None:
        """What no step can do without: the segmenter on both views, there and back, the features once."""
        with Runtime().autocast(device):
            extractor(batch.images)
            logits = segmenter(torch.cat([batch.images, batch.images]))
        segmenter.zero_grad()
        logits.backward(torch.ones_like(logits))

    if variant == FLOOR:
        return networks_alone
    segmenter.to(memory_format=torch.contiguous_format)
    inputs = batch.images, batch.foreground, trainer.schedule.weights, step_generator(0, 0)
    return partial(plain.step, trainer.optimizer, segmenter, extractor, *inputs)


FEATURE = partial(map_loss, plain.low_resolution_consistency_loss, losses.consistency_loss, False)
VISUAL = partial(map_loss, plain.consistency_loss, losses.consistency_loss, True)
DESCRIPTORS = partial(
    map_loss,
    lambda m, levels, f: plain.part_descriptors(m, plain.stacked(levels, m.shape[2:])).square(),
    lambda m, levels, f: losses.part_descriptors(m, levels).square(),
    False,
)
GRIDS, STEPS = ("plain", "partlib", "rebuilt without Python lists"), ("plain", "partlib", CACHED, FLOOR)
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
    """``function(*one)`` for every one of ``arguments``, each in a new process, all at once."""
    with ProcessPoolExecutor(len(arguments), mp_context=get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*arguments, strict=True)))


def measure(name: str, variant: str, size: str, device: str, threads: int, runs: int) -> dict[str, Any]:
    """Seconds of each run, and by how many megabytes memory grew at the peak of a call, where the system tells."""
    torch.set_num_threads(threads)
    case, place = CASES[name], torch.device(device)
    case.build(variant, SIZES["tiny"], place)()  # loads code and libraries, which are not the formula's memory
    function = case.build(variant, SIZES[size], place)
    before = peak_memory(place, forget=True)
    function()
    growth = peak_memory(place) - before
    timer = Timer("function()", globals={"function": function}, num_threads=threads)
    seconds: list[float] = []
    while len(seconds) < runs and sum(seconds) < LONGEST:
        seconds.append(timer.blocked_autorange(min_run_time=0.1).median)
    memory = {"megabytes": max(growth, 100_000) / 1e6} if case.memory and before else {}  # less than that is noise
    return {"seconds": median(seconds), "seconds of every run": seconds, **memory}


def peak_memory(device: torch.device, forget: bool = False) -> int:
    """Largest memory in bytes so far, since the last call with ``forget``; 0 where the system does not tell."""
    if device.type == "cuda":
        if forget:
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device)
    if forget and Path("/proc/self/clear_refs").exists():
        ctypes.CDLL(None).malloc_trim(0)  # freed memory would be used again, and not show as growth
        Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(from_proc("self/status", "VmHWM").removesuffix(" kB") or 0)


def from_proc(file: str, entry: str) -> str:
    """What Linux tells under ``entry`` of ``/proc/file``; empty elsewhere."""
    path = Path("/proc", file)
    found = re.search(rf"^{entry}\s*:\s*(.*)", path.read_text() if path.exists() else "", re.MULTILINE)
    return found[1] if found else ""


def step_of_rank(rank: int, processes: int, port: int, device: str, steps: int) -> tuple[float, int]:
    """Seconds of a step of one of several processes, with 6 images and one thread each, and bytes of its gradient."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.processes(device):
        with distributed.local_main_first():
            dataset = load_dataset("birds", "train", num_images=24)
        trainer = build_trainer(TrainConfig(batch_size=6 * processes, steps=1000), device, dataset)
        timer = Timer("step()", globals={"step": lambda: trainer.advance()["total"].item()})
        return timer.timeit(steps).mean, sum(4 * p.numel() for p in trainer.trained)


def scaling(device: str, size: str) -> dict[str, Any]:
    """Efficiency (images per second and process) of two processes on this machine, and simulated of more."""
    seconds, steps = {}, 8 if size == "paper" else 3
    for n in (1, 2) if device == "cpu" or torch.cuda.device_count() > 1 else (1,):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        seconds[n], gradient = in_processes(step_of_rank, *((rank, n, port, device, steps) for rank in range(n)))[0]
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
    """Of N processes against one; the only cost is the exchange, a ring that sends 2 (N - 1) / N gradients per link."""
    exchange = 2 * (processes - 1) / processes * gradient_bytes / bytes_per_second
    return step_seconds / (step_seconds + exchange)
