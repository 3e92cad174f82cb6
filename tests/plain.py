"""Losses, thin-plate grids, a training step and the scores as one would write them from the formulas, nothing saved.

The library must agree with these (``tests/test_losses.py``, ``tests/test_warps.py``) and is measured against them. They
build every tensor they name: features upsampled to the image, parts times channels times pixels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor, nn

from partlib.augment import ColorJitter, rgb_to_lab
from partlib.metrics import part_moments
from partlib.warps import random_points

GRAD_CLIP, TEMPERATURE = 5.0, 0.19


def upsample(features: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear."""
    return F.interpolate(features, size=(size[0], size[1]), mode="bilinear", align_corners=True)


def stacked(levels: list[Tensor], size: Sequence[int]) -> Tensor:
    """Every level at the size of the image, stacked along the channels."""
    return torch.cat([upsample(z, size) for z in levels], dim=1)  # (B, C, H, W)


def consistency_loss(part_maps: Tensor, targets: Tensor, foreground: Tensor, eps: float = 1e-5) -> Tensor:
    """Variation of targets (B, C, H, W) within part maps (B, K, H, W), one value per image (B,).

    One image after the other: all at once takes more memory than most machines have.
    """
    values = []
    for m, z, f in zip(part_maps[:, :, None], targets, foreground, strict=True):  # (K, 1, H, W), (C, H, W), (1, H, W)
        mean = (m * z).sum(dim=(2, 3), keepdim=True) / (m.sum(dim=(2, 3), keepdim=True) + eps)  # (K, C, 1, 1)
        variation = f * m * (z - mean) ** 2  # (K, C, H, W)
        values.append(variation.sum() / (f.sum() + eps))
    return torch.stack(values)


def low_resolution_consistency_loss(part_maps: Tensor, levels: list[Tensor], foreground: Tensor) -> Tensor:
    """The same for features of lower resolution: upsample all of them, then compare."""
    return consistency_loss(part_maps, stacked(levels, part_maps.shape[-2:]), foreground)


def part_descriptors(part_maps: Tensor, features: Tensor, eps: float = 1e-7) -> Tensor:
    """Mean of features (B, C, H, W) under part maps (B, K, H, W), (B, K, C)."""
    sums = [(m * z).sum(dim=(2, 3)) for m, z in zip(part_maps[:, :, None], features, strict=True)]  # (K, C) each
    return torch.stack(sums) / (part_maps.sum(dim=(2, 3)) + eps)[..., None]


def contrastive_loss(descriptors: Tensor, temperature: float, drawn: Tensor | None = None) -> Tensor:
    """InfoNCE, row by row; the positive's image for row b K + k is drawn[b K + k], or every other image in turn."""
    batch, num_parts, _ = descriptors.shape
    unit = descriptors / descriptors.norm(dim=2, keepdim=True)
    losses = []
    for b in range(batch):
        for k in range(num_parts):
            others = [unit[i, j] for i in range(batch) for j in range(num_parts) if j != k]
            negatives = sum(torch.exp(unit[b, k] @ other / temperature) for other in others)
            images = [i for i in range(batch) if i != b] if drawn is None else [int(drawn[b * num_parts + k])]
            for i in images:
                positive = torch.exp(unit[b, k] @ unit[i, k] / temperature)
                losses.append(-torch.log(positive / (positive + negatives)))
    return torch.stack(losses).mean()


def equivariance_loss(logits_of_warped: Tensor, warped_logits: Tensor, foreground: Tensor, eps: float = 1e-7) -> Tensor:
    """KL divergence from the warped parts, averaged over the foreground, (B,)."""
    p, q = warped_logits.softmax(dim=1), logits_of_warped.softmax(dim=1)
    divergence = (p * (torch.log(p) - torch.log(q))).sum(dim=1, keepdim=True)  # (B, 1, H, W)
    return (divergence * foreground).sum(dim=(1, 2, 3)) / (foreground.sum(dim=(1, 2, 3)) + eps)


def pixels_from_lists(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Coordinates (x, y) of all pixels, rows first, put together in Python as the release does, (HW, 2)."""
    columns, rows = ([2 * i / (n - 1) - 1 for i in range(n)] for n in (size[1], size[0]))
    return torch.tensor([(x, y) for y in rows for x in columns], dtype=dtype)


def pixels_from_tensors(size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The same without Python's lists."""
    rows, columns = (torch.linspace(-1, 1, n, dtype=dtype) for n in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1).view(-1, 2)  # (H, W, 2) -> (HW, 2)


def thin_plate_grid(source_points: Tensor, size: tuple[int, int], pixels_of=pixels_from_lists) -> Tensor:
    """Thin-plate spline through 25 points, kernel, solution and basis made anew: (B, 25, 2) -> (B, H, W, 2)."""
    axis = torch.linspace(-1, 1, 5, dtype=source_points.dtype)
    slow, fast = torch.meshgrid(axis, axis, indexing="ij")  # (5, 5) each
    centers = torch.stack([slow, fast], dim=-1).view(25, 2)  # (x, y), x slow
    pixels = pixels_of(size, source_points.dtype)  # (HW, 2)

    def basis(points: Tensor) -> Tensor:
        r = torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist")  # (N, 25)
        return torch.cat([r**2 * torch.log(r.clamp(min=1e-30)), torch.ones_like(r[:, :1]), points], dim=1)  # (N, 28)

    system = torch.zeros(28, 28, dtype=source_points.dtype)
    system[:25] = basis(centers)
    system[25:, :25] = system[:25, 25:].T
    at_pixels, grids = basis(pixels), []
    for points in source_points:
        coefficients = torch.linalg.solve(system, torch.cat([points, points.new_zeros(3, 2)]))  # (28, 2)
        grids.append((at_pixels @ coefficients).view(*size, 2))  # (HW, 2) -> (H, W, 2)
    return torch.stack(grids)


def step_losses(
    segmenter: nn.Module,
    extractor: nn.Module,
    images: Tensor,
    foreground: Tensor,
    weights: Mapping[str, float],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The four losses of images (B, 3, H, W) in [0, 1] and foreground (B, 1, H, W), and their weighted sum "total"."""
    size = (images.shape[2], images.shape[3])
    jitter = ColorJitter()
    first = jitter(images, generator)
    points = random_points(len(images), generator).to(images.dtype)
    grid = thin_plate_grid(points, size).to(images.device)  # (B, H, W, 2)
    second = F.grid_sample(jitter(images, generator), grid, align_corners=True)
    features = stacked(extractor(images), size) * foreground  # (B, C, H, W)

    logits, logits_of_warped = segmenter(first), segmenter(second)  # (B, K, H, W) each
    maps = logits.softmax(dim=1) * foreground
    warped_logits = F.grid_sample(logits, grid, align_corners=True).detach()
    warped_foreground = F.grid_sample(foreground, grid, align_corners=True)
    terms = {
        "feature": consistency_loss(maps, features, foreground).mean(),
        "visual": consistency_loss(maps, rgb_to_lab(images), foreground).mean(),
        "contrastive": contrastive_loss(part_descriptors(maps, features), TEMPERATURE),
        "equivariance": equivariance_loss(logits_of_warped, warped_logits, warped_foreground).mean(),
    }
    return {"total": torch.stack([weights[name] * value for name, value in terms.items()]).sum(), **terms}


def step(optimizer: torch.optim.Optimizer, segmenter: nn.Module, *arguments) -> dict[str, Tensor]:
    """One step: :func:`step_losses`, clipped gradients, optimizer. Returns the losses before it."""
    terms = step_losses(segmenter, *arguments)
    optimizer.zero_grad()
    terms["total"].backward()
    nn.utils.clip_grad_norm_([p for p in segmenter.parameters() if p.requires_grad], GRAD_CLIP)
    optimizer.step()
    return {name: value.detach() for name, value in terms.items()}


def part_scores(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """NMI and ARI in percent over the foreground (target above 0) and over everything; labels of any shape."""
    found, wanted = prediction.ravel(), target.ravel()
    inside = wanted > 0
    return {
        "fg_nmi": 100 * normalized_mutual_info_score(wanted[inside], found[inside]),
        "fg_ari": 100 * adjusted_rand_score(wanted[inside], found[inside]),
        "nmi": 100 * normalized_mutual_info_score(wanted, found),
        "ari": 100 * adjusted_rand_score(wanted, found),
    }


def keypoint_error(
    train_centers: np.ndarray, train_keypoints: np.ndarray, test_centers: np.ndarray, test_keypoints: np.ndarray
) -> float:
    """Mean distance of regressed keypoints, percent; centers (N, K, 2), keypoints (N, M, 3), coordinates in [0, 1]."""
    inputs, queries = train_centers.reshape(len(train_centers), -1), test_centers.reshape(len(test_centers), -1)
    distances = []
    for k in range(train_keypoints.shape[1]):
        seen, asked = train_keypoints[:, k, 2] > 0, test_keypoints[:, k, 2] > 0
        x, y = inputs[seen], train_keypoints[seen, k, :2]
        x_mean, x_std, y_mean, y_std = x.mean(0), x.std(0), y.mean(0), y.std(0)
        model = LinearRegression(fit_intercept=False).fit((x - x_mean) / x_std, (y - y_mean) / y_std)
        for query, keypoint in zip(queries[asked], test_keypoints[asked, k, :2], strict=True):
            found = model.predict(((query - x_mean) / x_std)[None])[0] * y_std + y_mean
            distances.append(np.linalg.norm(found - keypoint))
    return 100 * float(np.mean(distances))


def part_centers_training(maps: Tensor) -> Tensor:
    """Centers (B, K, 2) of maps (B, K, H, W) as in the release's training: a mass of at least 1, whatever there is."""
    moments, mass = part_moments(maps)
    return moments / mass.clamp(min=1)
