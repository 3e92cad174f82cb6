"""One training step's forward pass: a batch in, the total loss and its named terms out."""

from collections.abc import Callable

import torch
from torch import Tensor

from partlib import distributed, losses, warps
from partlib.color import rgb_to_lab
from partlib.config import TrainConfig
from partlib.data.augment import ColorJitter
from partlib.data.base import Batch
from partlib.distributed import own_share
from partlib.segmenter import part_maps

TERMS = ("feature", "visual", "contrastive", "equivariance")


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
        self, segmenter: Callable[[Tensor], Tensor], batch: Batch, features: list[Tensor], generator: torch.Generator
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
            descriptors = distributed.gather(losses.part_descriptors(maps, features))  # of all processes' images
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
        points = own_share(lambda total: warps.random_points(total, generator=generator), len(images))  # (B, 25, 2)
        points = points.to(images.device, images.dtype, non_blocking=True)
        return warps.thin_plate_grid(points, (images.shape[-2], images.shape[-1]))
