"""One training step's forward pass: a batch in, the total loss and its named terms out (paper eq. 1 to 8)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from partlib import distributed, losses, warps
from partlib.augment import ColorJitter, rgb_to_lab
from partlib.data.base import Batch, ViewBatch
from partlib.segmenter import part_maps

Segmenter = Callable[[Any], Tensor]  # images (B, 3, H, W), or the encoder's maps of them -> logits (B, K, H, W)


class Objective:
    """The weighted sum of the four losses.

    Two views of every image are segmented: the color-jittered image, and another jitter of it, warped. Feature and
    visual loss and the contrast read the parts of the first view; equivariance asks that the parts of the second are
    those of the first, warped.
    """

    lab_scale = 50.0  # Lab values are divided by this: colors are then about as large as scaled features

    def __init__(self, temperature: float = 0.19, jitter: ColorJitter | None = None) -> None:
        self.temperature, self.color_jitter = temperature, jitter or ColorJitter()

    def __call__(
        self,
        segmenter: Segmenter,
        batch: Batch,
        features: list[Tensor],  # maps (B, C_l, h_l, w_l) of the clean images, of any resolution
        weights: Mapping[str, float],  # of the four losses
        generator: Generator,  # on the CPU; draws jitter and warps
    ) -> dict[str, Tensor]:
        """Named losses, unweighted, and their weighted sum under "total"; terms of weight 0 are left out."""
        # Two views, the second of them warped, and one pass of the network
        warped, grid = bool(weights["equivariance"]), None
        if isinstance(batch, ViewBatch):  # what a frozen encoder sees of them is known
            maps = batch.maps if warped else [z[: len(batch.images)] for z in batch.maps]
            grid = warps.thin_plate_grid(batch.points, _size(batch.images)) if warped else None
            logits = list(segmenter(maps).split(len(batch.images)))
        else:
            views = [self.jitter(batch.images, generator)]
            if warped:
                grid = self.random_grid(batch.images, generator)
                views.append(self.warp_view(self.jitter(batch.images, generator), grid))
            logits = self.segment(segmenter, views)
        # Four losses
        lab = self.lab(batch.images) if weights["visual"] else None
        return self.terms(logits, batch.foreground, features, lab, grid, weights, generator)

    def terms(
        self,
        logits: list[Tensor],  # of the first view, and where a grid is given of the second, (B, K, H, W) each
        foreground: Tensor,  # (B, 1, H, W)
        features: list[Tensor],
        lab: Tensor | None,  # (B, 3, H, W), colors of the clean images; None without visual loss
        grid: Tensor | None,  # (B, H, W, 2), the warp of the second view; None without equivariance
        weights: Mapping[str, float],
        generator: Generator | None = None,
        positives: Tensor | None = None,  # (B K,) images drawn elsewhere, see losses.contrastive_loss
    ) -> dict[str, Tensor]:
        """The terms of :meth:`__call__` from what networks and chance have contributed."""
        terms: dict[str, Tensor] = {}
        maps = part_maps(logits[0], foreground)  # (B, K, H, W)
        if weights["feature"]:
            terms["feature"] = self.feature_loss(maps, features, foreground)
        if weights["visual"] and lab is not None:
            terms["visual"] = losses.consistency_loss(maps, lab, foreground)
        if weights["contrastive"]:
            descriptors = distributed.all_gather(self.descriptors(maps, features, foreground))  # of all ranks' images
            terms["contrastive"] = self.contrastive_loss(descriptors, generator, positives)
        if weights["equivariance"] and grid is not None:
            warped_logits, warped_foreground = warps.warp(logits[0], grid), warps.warp(foreground, grid)
            terms["equivariance"] = losses.equivariance_loss(logits[1], warped_logits, warped_foreground)
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return {"total": total, **terms}

    # The pieces, one method each: a variant replaces one. Processes draw for all images and keep their own rows.

    def jitter(self, images: Tensor, generator: Generator) -> Tensor:
        """Color-jittered copies of images (B, 3, H, W)."""
        draws = distributed.own_rows(lambda total: self.color_jitter.draw(total, generator), len(images), dim=1)
        return self.color_jitter(images, draws=draws)

    def random_grid(self, images: Tensor, generator: Generator) -> Tensor:
        """One random warp per image, (B, H, W, 2)."""
        points = distributed.own_rows(lambda total: warps.random_points(total, generator), len(images))  # (B, 25, 2)
        points = points.to(images.device, images.dtype, non_blocking=True)
        return warps.thin_plate_grid(points, _size(images))

    def warp_view(self, images: Tensor, grid: Tensor) -> Tensor:
        """Warped images, black beyond their edge."""
        return warps.warp(images, grid)

    def segment(self, segmenter: Segmenter, views: list[Tensor]) -> list[Tensor]:
        """Logits (B, K, H, W) of every view, from one pass of the network."""
        return list(segmenter(torch.cat(views)).chunk(len(views)))

    def lab(self, images: Tensor) -> Tensor:
        """The colors that the visual loss reads, (B, 3, H, W), of RGB images in [0, 1]."""
        return rgb_to_lab(images) / self.lab_scale

    def feature_loss(self, maps: Tensor, features: list[Tensor], foreground: Tensor) -> Tensor:
        return losses.consistency_loss(maps, features, foreground)

    def descriptors(self, maps: Tensor, features: list[Tensor], foreground: Tensor) -> Tensor:
        return losses.part_descriptors(maps, features)

    def contrastive_loss(self, descriptors: Tensor, generator: Generator | None, positives: Tensor | None) -> Tensor:
        return losses.contrastive_loss(descriptors, self.temperature, "all" if positives is None else positives)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
