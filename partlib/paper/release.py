"""The parts of a run with the preset "paper": the paper's recipe, and what its authors' code computes otherwise.

``TrainConfig.quirks`` names what is switched on, docs/QUIRKS.md has the effect of each. "recipe" is the paper's own:
SGD, rates that fall to zero after 100,000 steps, BatchNorm with the statistics of each view, features as they are, the
finer layer weighted by 0.33, Lab in its own unit, the feature loss summed over the batch, one positive per part.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from partlib import distributed, losses, warps
from partlib.backbones import SCALES, Normalize
from partlib.config import TrainConfig
from partlib.data import PartDataset, load_dataset
from partlib.errors import ConfigError
from partlib.features import Features
from partlib.moments import first_moments, upsampled_square_norm
from partlib.objective import Objective, Segmenter
from partlib.paper import release_data
from partlib.runs.build import Recipe, Scale
from partlib.segmenter import DEEPLABS
from partlib.training import Schedule

LAYER_WEIGHTS = (0.33, 1.0)  # finest first
DECAY_STEPS = 100_000
# What the release computes otherwise than the paper says, beside the input scale of "deeplab_resnet50_release".
RELEASE = {
    "positives": "the first of the other images is never drawn as a positive",
    "masked_features": "upsampled features are multiplied with the foreground; visible only where it is soft",
    "warp_fill": "beyond the edge of a warped image lies the color that the input scale maps to 0, not black",
    "pixels": "images are read as by the release, and all official training images are trained on",
}
QUIRKS = ("recipe", *RELEASE)


def release_config(config: TrainConfig) -> TrainConfig:
    """``config``, a variant of the preset "paper", with every quirk of the release."""
    arch, colon, weights = config.arch.partition(":")
    if arch not in DEEPLABS:
        raise ConfigError(f"--reproduce-release is for the paper's network, arch is {arch!r}; use --preset paper")
    return config.replace(quirks=QUIRKS, arch=f"deeplab_resnet50_release{colon}{weights}")


class ReleaseObjective(Objective):
    """The paper's losses, with ``quirks`` as the release computes them; ``fill`` (1, 3, 1, 1) is for "warp_fill"."""

    lab_scale = 1.0

    def __init__(self, temperature: float, quirks: tuple[str, ...] = (), fill: Tensor | None = None) -> None:
        super().__init__(temperature)
        self.quirks, self.fill = quirks, fill

    def segment(self, segmenter: Segmenter, views: list[Tensor]) -> list[Tensor]:
        return [segmenter(view) for view in views]  # each view with its own batch statistics

    def warp_view(self, images: Tensor, grid: Tensor) -> Tensor:
        if "warp_fill" not in self.quirks or self.fill is None:
            return warps.warp(images, grid)
        # zero padding after the normalization, as in the release, is padding with the mean before it
        mean = self.fill.to(images)
        return warps.warp(images - mean, grid) + mean

    def feature_loss(self, maps: Tensor, features: list[Tensor], foreground: Tensor) -> Tensor:
        masked = "masked_features" in self.quirks
        consistency = masked_consistency if masked else partial(losses.consistency_loss, reduction="none")
        # the mean over the processes is then the sum over all images
        return consistency(maps, features, foreground).sum() * distributed.world_size()

    def descriptors(self, maps: Tensor, features: list[Tensor], foreground: Tensor) -> Tensor:
        if "masked_features" not in self.quirks:
            return losses.part_descriptors(maps, features)
        mass, weights = maps.sum(dim=(2, 3)), maps * foreground  # (B, K), (B, K, H, W)
        sums = torch.cat([first_moments(weights, z) for z in features], dim=2)  # (B, K, C)
        return sums / (mass + 1e-7)[..., None]

    def contrastive_loss(
        self, descriptors: Tensor, generator: torch.Generator | None, positives: Tensor | None
    ) -> Tensor:
        if positives is None:
            batch, num_parts, _ = descriptors.shape
            positives = losses.draw_positives(batch, num_parts, generator, int("positives" in self.quirks))
        return losses.contrastive_loss(descriptors, self.temperature, positives)


def masked_consistency(part_maps: Tensor, features: list[Tensor], foreground: Tensor, eps: float = 1e-5) -> Tensor:
    """:func:`partlib.losses.consistency_loss` per image, (B,), of upsampled features times the foreground."""

    def variation(z: Tensor) -> Tensor:
        weighted = part_maps * foreground  # (B, K, H, W)
        weights = torch.cat([part_maps, weighted], dim=1)  # (B, 2K, H, W)
        s0, w0 = weights.sum(dim=(2, 3)).chunk(2, dim=1)  # (B, K) each
        total_weight = weighted.sum(dim=1)  # (B, H, W)
        weights, total_weight = weights * foreground, total_weight * foreground[:, 0] ** 2
        s1, w1 = first_moments(weights, z).chunk(2, dim=1)  # (B, K, C) each
        mu = s1 / (s0 + eps)[..., None]  # (B, K, C)
        a = (total_weight * upsampled_square_norm(z, part_maps.shape[-2:])).sum(dim=(1, 2))  # (B,)
        return a - 2 * (mu * w1).sum(dim=(1, 2)) + ((mu**2).sum(dim=2) * w0).sum(dim=1)

    return torch.stack([variation(z) for z in features]).sum(dim=0) / (foreground.sum(dim=(1, 2, 3)) + eps)


class PaperRecipe(Recipe):
    batchnorm = "statistics"

    def __init__(self, config: TrainConfig) -> None:
        if not {"recipe"} <= set(config.quirks) <= set(QUIRKS):
            found = ", ".join(config.quirks)
            raise ConfigError(f"quirks is {found!r}; expected recipe, and some of {', '.join(RELEASE)}")
        super().__init__(config)

    def load(self, split: str, image_size: int, options: dict[str, Any]) -> PartDataset:
        load = release_data.load if "pixels" in self.config.quirks else load_dataset
        return load(self.config.data, split, self.config.root or None, image_size, **options)

    def scale(self, features: Features, train_set: PartDataset, device: torch.device) -> Scale:
        return lambda maps: [weight * z for weight, z in zip(LAYER_WEIGHTS, maps, strict=True)]

    def objective(self) -> ReleaseObjective:
        layout = DEEPLABS.get(self.config.arch.partition(":")[0], {"scale": "lite0"})
        fill = Normalize(**SCALES[str(layout["scale"])]).mean  # the color that the network's input scale maps to 0
        return ReleaseObjective(self.config.temperature, self.config.quirks, fill)

    def optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4, fused=groups[-1]["params"][0].is_cuda or None)

    def schedule(self) -> Schedule:
        return replace(super().schedule(), decay_steps=max(DECAY_STEPS, self.config.steps))


def recipe_of(config: TrainConfig) -> type[Recipe]:
    """The recipe that a configuration is for."""
    return PaperRecipe if config.quirks else Recipe
