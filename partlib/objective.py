"""One training step's forward pass: a batch in, the total loss and its named terms out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from partlib import losses, warps
from partlib.color import rgb_to_lab
from partlib.config import TrainConfig
from partlib.data.augment import ColorJitter
from partlib.data.base import Batch
from partlib.features import FeatureBank
from partlib.segmenter import PartSegmenter, part_maps

TERMS = ("feature", "visual", "contrastive", "equivariance")


@dataclass
class FeatureScaling:
    """Puts the feature channels of a network on one scale.

    Channels of an ImageNet network differ in size by orders of magnitude, and a squared distance would see the largest
    only. Each channel is standardised over the foreground of the training set; each position is then scaled to unit
    length, so that all positions weigh the same and |z - mu|^2 measures direction.

    Attributes
    ----------
    mean, std : per layer, (1, C_l, 1, 1).
    """

    mean: list[Tensor]
    std: list[Tensor]

    @classmethod
    def fit(cls, bank: FeatureBank, foregrounds: Tensor) -> "FeatureScaling":
        """Statistics over the cells of ``bank`` under the foregrounds (N, 1, H, W)."""
        means, stds = [], []
        for level in bank.levels:
            masks = torch.nn.functional.interpolate(foregrounds, size=level.shape[-2:], mode="area")  # (N, 1, h, w)
            inside = (masks[:, 0] > 0.5).numpy()  # (N, h, w)
            cells = np.concatenate([x[:, m].T for x, m in zip(level, inside, strict=True)]).astype(np.float32)
            means.append(torch.from_numpy(cells.mean(axis=0)).view(1, -1, 1, 1))  # (1, C, 1, 1)
            stds.append(torch.from_numpy(cells.std(axis=0) + 1e-6).view(1, -1, 1, 1))  # (1, C, 1, 1)
        return cls(means, stds)

    def __call__(self, features: list[Tensor]) -> list[Tensor]:
        scaled = []
        for z, mean, std in zip(features, self.mean, self.std, strict=True):
            z = (z - mean.to(z.device)) / std.to(z.device)
            scaled.append(z / (z.norm(dim=1, keepdim=True) + 1e-6))
        return scaled


class Objective:
    """The weighted sum of the four losses (paper eq. 1-8).

    Two views of every image are segmented: the colour-jittered image, and another jitter of it, warped. Feature and
    visual loss and the contrast read the parts of the first view; equivariance asks that the parts of the second are
    those of the first, warped.
    """

    def __init__(self, config: TrainConfig, jitter: ColorJitter | None = None) -> None:
        self.weights = {name: getattr(config, name) for name in TERMS}
        self.config, self.jitter = config, jitter or ColorJitter()

    def __call__(
        self, segmenter: PartSegmenter, batch: Batch, features: list[Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Named losses, unweighted, and their weighted sum under "total"; terms of weight 0 are left out.

        ``features`` are maps (B, C_l, h_l, w_l) of the clean images; ``generator`` (CPU) draws jitter and warps.
        """
        images, foreground = batch.images, batch.foreground
        views = [self.jitter(images, generator)]
        if self.weights["equivariance"]:
            grid = self.random_grid(images, generator)
            views.append(warps.warp(self.jitter(images, generator), grid))
        logits = segmenter(torch.cat(views)).chunk(len(views))  # (B, K, H, W) each
        maps = part_maps(logits[0], foreground)
        terms: dict[str, Tensor] = {}
        if self.weights["feature"]:
            terms["feature"] = losses.consistency_loss(maps, features, foreground)
        if self.weights["visual"]:
            lab = rgb_to_lab(images) / self.config.lab_scale
            terms["visual"] = losses.consistency_loss(maps, lab, foreground)
        if self.weights["contrastive"]:
            descriptors = losses.part_descriptors(maps, features)
            terms["contrastive"] = losses.contrastive_loss(
                descriptors, self.config.temperature, self.config.positives, generator
            )
        if self.weights["equivariance"]:
            warped_logits, warped_foreground = warps.warp(logits[0], grid), warps.warp(foreground, grid)
            terms["equivariance"] = losses.equivariance_loss(logits[1], warped_logits, warped_foreground)
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return {"total": total, **terms}

    def random_grid(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One random warp per image, (B, H, W, 2)."""
        points = warps.random_points(len(images), generator=generator).to(images.device)
        return warps.thin_plate_grid(points, images.shape[-2:])
