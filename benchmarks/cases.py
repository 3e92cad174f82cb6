"""What is measured: each case in a plain variant and in the library's, on the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.measure import Variants, time_of
from partlib import losses, metrics, warps
from partlib.color import rgb_to_lab
from tests import plain as formulas
from tests import plain_metrics


@dataclass(frozen=True)
class Shape:
    """Sizes of the inputs of a case: images, parts, image side, feature levels (channels, side), pixels to score."""

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
    """One row of the table.

    Attributes
    ----------
    title : what is measured.
    build : (shape, device) -> variants, "plain" and "partlib" at least.
    goals : "time" and "memory": how many times better than plain it is meant to be at the paper's size.
    needs_gb : memory that the plain variant takes at the paper's size.
    memory : memory is worth measuring.
    heavy : too slow to be repeated in one process; a run is one call in a process of its own.
    check : (shape, device) -> named differences to a float64 reference.
    extra : (shape, device) -> more numbers for the row.
    """

    title: str
    build: Callable[[Shape, torch.device], Variants]
    goals: dict[str, float] = field(default_factory=dict)
    needs_gb: float = 1.0
    memory: bool = False
    heavy: bool = False
    check: Callable[[Shape, torch.device], dict[str, float]] | None = None
    extra: Callable[[Shape, torch.device], dict[str, float]] | None = None


def inputs(shape: Shape, device: torch.device, soft: bool = False) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Part maps (B, K, H, W), foreground (B, 1, H, W) and features (B, C_l, h_l, w_l), random but seeded."""
    generator = torch.Generator().manual_seed(0)
    side = shape.side
    foreground = torch.rand(shape.images, 1, side, side, generator=generator)
    foreground = foreground if soft else (foreground > 0.4).float()
    logits = 2 * torch.randn(shape.images, shape.parts, side // 8, side // 8, generator=generator)
    upsampled = formulas.upsample(logits, (side, side))
    features = [
        2 * torch.randn(shape.images, channels, low, low, generator=generator).relu() for channels, low in shape.levels
    ]
    maps = upsampled.softmax(dim=1) * foreground
    return maps.to(device), foreground.to(device), [z.to(device) for z in features]


def with_gradient(loss: Callable[[Tensor], Tensor], argument: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """A function that takes the value of a loss and its gradient in ``argument``."""

    def call() -> tuple[Tensor, Tensor]:
        leaf = argument.detach().requires_grad_()
        value = loss(leaf)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    return call


def feature_loss(shape: Shape, device: torch.device, soft: bool = False) -> Variants:
    maps, foreground, levels = inputs(shape, device, soft)
    plain = formulas.low_resolution_consistency_loss
    return {
        "plain": with_gradient(lambda m: plain(m, levels, foreground).mean(), maps),
        "partlib": with_gradient(lambda m: losses.consistency_loss(m, levels, foreground), maps),
    }


def feature_loss_errors(shape: Shape, device: torch.device) -> dict[str, float]:
    """Relative error of value and gradient against the plain formula in float64, binary and soft foreground."""
    errors = {}
    for kind, soft in (("", False), ("soft ", True)):
        maps, foreground, levels = inputs(shape, device, soft)
        expected, gradient = _reference(maps, foreground, levels)
        value, found = with_gradient(lambda m: losses.consistency_loss(m, levels, foreground), maps)()  # noqa: B023
        errors[f"{kind}value error"] = abs(float(value) / expected - 1)
        errors[f"{kind}gradient error"] = float((found.double().cpu() - gradient).abs().max() / gradient.abs().max())
    return errors


def _reference(maps: Tensor, foreground: Tensor, levels: list[Tensor], block: int = 32) -> tuple[float, Tensor]:
    """The plain feature loss and its gradient in float64, an image and a few channels at a time.

    The loss is a sum over images and channels; all at once it would take 25 GB.
    """
    plain = formulas.low_resolution_consistency_loss
    total, gradient = 0.0, torch.zeros(maps.shape, dtype=torch.float64)
    for i in range(len(maps)):
        m, f = maps[i : i + 1].double().cpu().requires_grad_(), foreground[i : i + 1].double().cpu()
        for level in levels:
            for channels in level[i : i + 1].double().cpu().split(block, dim=1):
                value = plain(m, [channels], f).sum() / len(maps)
                value.backward()
                total += value.item()
        gradient[i] = m.grad[0]  # type: ignore[index]
    return total, gradient


def visual_loss(shape: Shape, device: torch.device) -> Variants:
    maps, foreground, _ = inputs(shape, device)
    images = torch.rand(shape.images, 3, shape.side, shape.side, generator=torch.Generator().manual_seed(1))
    lab = rgb_to_lab(images.to(device))
    plain = formulas.consistency_loss
    return {
        "plain": with_gradient(lambda m: plain(m, lab, foreground).mean(), maps),
        "partlib": with_gradient(lambda m: losses.consistency_loss(m, lab, foreground), maps),
    }


def part_descriptors(shape: Shape, device: torch.device) -> Variants:
    maps, _, levels = inputs(shape, device)
    plain, size = formulas, (shape.side, shape.side)
    return {
        "plain": with_gradient(lambda m: plain.part_descriptors(m, plain.stacked(levels, size)).square().mean(), maps),
        "partlib": with_gradient(lambda m: losses.part_descriptors(m, levels).square().mean(), maps),
    }


def contrastive_loss(shape: Shape, device: torch.device) -> Variants:
    channels = sum(channels for channels, _ in shape.levels)
    generator = torch.Generator().manual_seed(2)
    descriptors = torch.randn(shape.images, shape.parts, channels, generator=generator).to(device)
    plain = formulas.contrastive_loss
    return {
        "plain": with_gradient(lambda v: plain(v, 0.19), descriptors),
        "partlib": with_gradient(lambda v: losses.contrastive_loss(v, 0.19), descriptors),
    }


def warp_grids(shape: Shape, device: torch.device) -> Variants:
    points = warps.random_points(shape.images, torch.Generator().manual_seed(3))
    plain, size = formulas, (shape.side, shape.side)
    return {
        "plain": lambda: plain.thin_plate_grid(points, size).to(device),
        "partlib": lambda: warps.thin_plate_grid(points.to(device), size),
        "rebuilt without Python lists": lambda: plain.thin_plate_grid(points, size, plain.pixels_from_tensors).to(
            device
        ),
    }


def label_maps(pixels: int) -> tuple[Tensor, Tensor]:
    """Predictions of 5 and targets of 10 labels that have something to do with each other, (pixels,) uint8."""
    generator = torch.Generator().manual_seed(4)
    target = torch.randint(0, 10, (pixels,), generator=generator)
    noise = torch.randint(0, 5, (pixels,), generator=generator)
    prediction = torch.where(torch.rand(pixels, generator=generator) < 0.5, target // 2, noise)
    return prediction.to(torch.uint8), target.to(torch.uint8)


def part_scores(shape: Shape, device: torch.device) -> Variants:
    prediction, target = label_maps(shape.pixels)
    on_device = prediction.to(device), target.to(device)
    plain = plain_metrics.part_scores
    return {
        "plain": lambda: plain(prediction.numpy(), target.numpy()),
        "partlib": lambda: metrics.PartScores(4, 9).update(*on_device).compute(),
    }


def keypoint_error(shape: Shape, device: torch.device) -> Variants:
    generator = torch.Generator().manual_seed(5)
    centers = torch.rand(1200, shape.parts, 2, generator=generator)
    keypoints = torch.rand(1200, 15, 3, generator=generator)
    keypoints[..., 2] = (keypoints[..., 2] > 0.3).float()
    halves = (centers[:600], keypoints[:600], centers[600:], keypoints[600:])  # to fit on, to test on
    fit_centers, fit_keypoints, test_centers, test_keypoints = (x.double().numpy() for x in halves)
    plain = plain_metrics.keypoint_error
    return {
        "plain": lambda: plain(fit_centers, fit_keypoints, test_centers, test_keypoints),
        "partlib": lambda: metrics.keypoint_regression_error(fit_centers, fit_keypoints, test_centers, test_keypoints),
    }


def seconds_per_billion(shape: Shape, device: torch.device) -> dict[str, float]:
    """Seconds that counting and scoring 10^9 pixels takes, 10^7 of them a hundred times (fewer at small sizes)."""
    prediction, target = (labels.to(device) for labels in label_maps(shape.pixels))
    scores, times = metrics.PartScores(4, 9), 100

    def stream() -> None:
        for _ in range(times):
            scores.update(prediction, target)
        scores.compute()

    stream()
    return {"seconds per 1e9 pixels": time_of(stream, device).seconds * 1e9 / (times * shape.pixels)}


CASES: dict[str, Case] = {
    "feature-loss": Case(
        "feature loss, forward and backward",
        feature_loss,
        goals={"time": 50, "memory": 100},
        needs_gb=14,
        memory=True,
        check=feature_loss_errors,
    ),
    "visual-loss": Case("visual loss, forward and backward", visual_loss, memory=True),
    "descriptors": Case("part descriptors, forward and backward", part_descriptors, needs_gb=8, memory=True),
    "contrastive-loss": Case("contrastive loss, all positives, forward and backward", contrastive_loss),
    "warps": Case("thin-plate grids of a batch", warp_grids, goals={"time": 20}),
    "scores": Case("NMI and ARI of 10 classes", part_scores, memory=True, extra=seconds_per_billion),
    "keypoints": Case("keypoint regression, 15 keypoints, 600 + 600 images", keypoint_error),
}
