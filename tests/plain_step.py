"""A training step as one would write it from the paper, every tensor built: what ``Trainer.advance`` is measured
against. Networks, colour jitter and Lab are the library's; losses, upsampling and warps are those of ``plain``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from partlib.augment import ColorJitter
from partlib.color import rgb_to_lab
from partlib.config import TrainConfig
from partlib.warps import random_points
from tests import plain


def losses(
    segmenter: nn.Module,
    extractor: nn.Module,
    images: Tensor,
    foreground: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The four losses of images (B, 3, H, W) in [0, 1] and foreground (B, 1, H, W), and their weighted sum "total"."""
    size = (images.shape[2], images.shape[3])
    jitter = ColorJitter()
    first = jitter(images, generator)
    points = random_points(len(images), generator).to(images.dtype)
    grid = plain.thin_plate_grid(points, size).to(images.device)  # (B, H, W, 2)
    second = F.grid_sample(jitter(images, generator), grid, align_corners=True)
    features = plain.stacked(extractor(images), size) * foreground  # (B, C, H, W)

    logits, logits_of_warped = segmenter(first), segmenter(second)  # (B, K, H, W) each
    maps = logits.softmax(dim=1) * foreground
    warped_logits = F.grid_sample(logits, grid, align_corners=True).detach()
    warped_foreground = F.grid_sample(foreground, grid, align_corners=True)
    terms = {
        "feature": plain.consistency_loss(maps, features, foreground).mean(),
        "visual": plain.consistency_loss(maps, rgb_to_lab(images) / config.lab_scale, foreground).mean(),
        "contrastive": plain.contrastive_loss(plain.part_descriptors(maps, features), config.temperature),
        "equivariance": plain.equivariance_loss(logits_of_warped, warped_logits, warped_foreground).mean(),
    }
    total = torch.stack([getattr(config, name) * value for name, value in terms.items()]).sum()
    return {"total": total, **terms}


def step(
    segmenter: nn.Module,
    extractor: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    foreground: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One step: losses, gradients clipped to ``config.grad_clip``, optimiser. Returns the losses before it."""
    terms = losses(segmenter, extractor, images, foreground, config, generator)
    optimizer.zero_grad()
    terms["total"].backward()
    nn.utils.clip_grad_norm_([p for p in segmenter.parameters() if p.requires_grad], config.grad_clip)
    optimizer.step()
    return {name: value.detach() for name, value in terms.items()}
