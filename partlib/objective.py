"""One training step's forward pass: a batch in, the total loss and its named terms out."""

from collections.abc import Callable

import torch
from torch import Tensor

from partlib import distributed, losses, warps
from partlib.augment import ColorJitter
from partlib.backbones import input_mean
from partlib.color import rgb_to_lab
from partlib.config import LOSSES, TrainConfig
from partlib.data.base import Batch
from partlib.distributed import own_share
from partlib.segmenter import part_maps


def step_generator(seed: int, step: int) -> torch.Generator:
    """The source of all randomness of one step. It depends on nothing that ran before, so resuming needs no state."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def visual_weight(config: TrainConfig, step: int) -> float:
    """Weight of the visual loss at a step: from ``visual`` geometrically to ``visual_end``, or constant without one."""
    if not (config.visual and config.visual_end):
        return config.visual
    return config.visual * (config.visual_end / config.visual) ** (step / config.steps)


class Objective:
    """The weighted sum of the four losses (paper eq. 1-8).

    Two views of every image are segmented: the colour-jittered image, and another jitter of it, warped. Feature and
    visual loss and the contrast read the parts of the first view; equivariance asks that the parts of the second are
    those of the first, warped.
    """

    def __init__(self, config: TrainConfig, jitter: ColorJitter | None = None) -> None:
        self.weights = {name: getattr(config, name) for name in LOSSES}
        self.config, self.jitter = config, jitter or ColorJitter()

    def __call__(
        self, segmenter: Callable[[Tensor], Tensor], batch: Batch, features: list[Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Named losses, unweighted, and their weighted sum under "total"; terms of weight 0 are left out.

        ``features`` are maps (B, C_l, h_l, w_l) of the clean images; ``generator`` (CPU) draws jitter and warps.
        """
        images, grid = batch.images, None
        views = [self.jitter(images, generator)]
        if self.weights["equivariance"]:
            grid = self.random_grid(images, generator)
            views.append(self.warp_view(self.jitter(images, generator), grid))
        if self.config.joint_views:
            logits = list(segmenter(torch.cat(views)).chunk(len(views)))  # (B, K, H, W) each
        else:
            logits = [segmenter(view) for view in views]
        return self.terms(logits, batch.foreground, features, self.lab(images), grid, generator=generator)

    def lab(self, images: Tensor) -> Tensor | None:
        """The colours that the visual loss reads, (B, 3, H, W), of RGB images in [0, 1]; None without that loss."""
        return rgb_to_lab(images) / self.config.lab_scale if self.weights["visual"] else None

    def terms(
        self,
        logits: list[Tensor],
        foreground: Tensor,
        features: list[Tensor],
        lab: Tensor | None,
        grid: Tensor | None,
        *,
        generator: torch.Generator | None = None,
        positives: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The terms of :meth:`__call__` from what networks and chance have contributed.

        Parameters
        ----------
        logits : of the first view, and where ``grid`` is given of the second, (B, K, H, W) each.
        foreground : (B, 1, H, W).
        features : maps (B, C_l, h_l, w_l) of the clean images, of any resolution.
        lab : (B, 3, H, W), colours of the clean images; None without visual loss.
        grid : (B, H, W, 2), the warp of the second view; None without equivariance.
        generator : CPU generator of the contrast's positives.
        positives : (B K,) images drawn elsewhere instead, see :func:`partlib.losses.contrastive_loss`.
        """
        c, terms = self.config, {}
        maps = part_maps(logits[0], foreground)
        if self.weights["feature"]:
            terms["feature"] = losses.consistency_loss(
                maps, features, foreground, reduction=c.feature_reduction, masked_targets=c.masked_features
            )
            if c.feature_reduction == "sum":  # the mean over the processes is then the sum over all images
                terms["feature"] = terms["feature"] * distributed.world_size()
        if self.weights["visual"] and lab is not None:
            terms["visual"] = losses.consistency_loss(maps, lab, foreground)
        if self.weights["contrastive"]:
            mask = foreground if c.masked_features else None
            own = losses.part_descriptors(maps, features, foreground=mask)
            descriptors = distributed.gather(own)  # of all processes' images
            chosen = c.positives if positives is None else positives
            terms["contrastive"] = losses.contrastive_loss(descriptors, c.temperature, chosen, generator)
        if self.weights["equivariance"] and grid is not None:
            warped_logits, warped_foreground = warps.warp(logits[0], grid), warps.warp(foreground, grid)
            terms["equivariance"] = losses.equivariance_loss(logits[1], warped_logits, warped_foreground)
        total = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        return {"total": total, **terms}

    def warp_view(self, images: Tensor, grid: Tensor) -> Tensor:
        """Warped images; beyond their edge they are black, or of the colour that the network takes for 0."""
        if self.config.warp_fill == "black":
            return warps.warp(images, grid)
        # zero padding after the normalisation, as in the release, is padding with the mean before it
        mean = input_mean(self.config.backbone, self.config.input_norm).to(images)  # (1, 3, 1, 1)
        return warps.warp(images - mean, grid) + mean

    def random_grid(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One random warp per image, (B, H, W, 2)."""
        points = own_share(lambda total: warps.random_points(total, generator=generator), len(images))  # (B, 25, 2)
        points = points.to(images.device, images.dtype, non_blocking=True)
        return warps.thin_plate_grid(points, (images.shape[-2], images.shape[-1]))
