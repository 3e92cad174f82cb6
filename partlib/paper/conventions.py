"""How the release reads part centers and keypoints, where it differs from :mod:`partlib.metrics` by a pixel or half."""

from torch import Tensor

from partlib.metrics import keypoint_labels, part_moments


def part_centers_training(part_maps: Tensor) -> Tensor:
    """Part centers (B, K, 2) of maps (B, K, H, W) as in the release's training: first pixel at 0, mass at least 1.

    A part of less than one pixel is pulled towards the corner.
    """
    moments, mass = part_moments(part_maps)
    return moments / mass.clamp(min=1)


def part_centers_evaluation(part_maps: Tensor) -> Tensor:
    """Part centers (B, K, 2) of maps (B, K, H, W) as in the release's CUB evaluation: first pixel at 1, mass + 1e-8."""
    moments, mass = part_moments(part_maps, first=1)
    return moments / (mass + 1e-8)


def keypoint_labels_release(labels: Tensor, keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`partlib.metrics.keypoint_labels`, read half a pixel to the upper left.

    The release samples on a grid of ``2 x / W - 1`` with align_corners=False.
    """
    return keypoint_labels(labels, keypoints - keypoints.new_tensor([0.5, 0.5, 0.0]))
