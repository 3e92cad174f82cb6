"""What flat colours can and cannot say about parts: clusters of colours, explained variance, contrast at borders."""

import torch
from torch import Tensor

from partlib.color import rgb_to_lab
from partlib.errors import ConfigError, DataError

SPACES = ("lab", "rgb")


def color_values(images: Tensor, space: str) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] as colours of a space: "rgb" as they are, "lab" with L from 0 to 100."""
    if space not in SPACES:
        raise ConfigError(f"space is {space!r}; expected one of {', '.join(SPACES)}")
    return rgb_to_lab(images) if space == "lab" else images


def one_hot(labels: Tensor, num_parts: int | None = None) -> Tensor:
    """Hard part maps (N, K, H, W) float32 of labels (N, H, W), 0 is background."""
    highest = int(labels.max()) if num_parts is None else num_parts
    return torch.stack([(labels == k).float() for k in range(1, highest + 1)], dim=1)


def color_clusters(image: Tensor, foreground: Tensor, num_parts: int, space: str = "lab", seed: int = 0) -> Tensor:
    """K-means on the colours of one object: the division with (nearly) the lowest visual loss that K parts can have.

    Parameters
    ----------
    image : (3, H, W) in [0, 1].
    foreground : (1, H, W); above 0.5 is the object.
    num_parts : K, at least 1.
    space : "lab" or "rgb".
    seed : of k-means.

    Returns
    -------
    Tensor, (H, W) int64, 0 off the object, 1..K from dark to light.
    """
    from sklearn.cluster import KMeans  # imported on use, as in partlib.baselines

    inside = foreground[0] > 0.5  # (H, W)
    colors = color_values(image[None], space)[0, :, inside].T.numpy()  # (3, P) -> (P, 3)
    if len(colors) < num_parts or num_parts < 1:
        raise DataError(f"{num_parts} parts asked for, the object has {len(colors)} pixels; expected 1 to that many")
    fitted = KMeans(num_parts, n_init=3, random_state=seed).fit(colors)
    lightness = fitted.cluster_centers_[:, 0] if space == "lab" else fitted.cluster_centers_.mean(1)
    rank = torch.from_numpy(lightness.argsort().argsort())  # cluster -> place from dark to light
    labels = torch.zeros(inside.shape, dtype=torch.long)
    labels[inside] = rank[torch.from_numpy(fitted.labels_).long()] + 1
    return labels


def border_contrast(images: Tensor, labels: Tensor) -> float:
    """How much more neighbouring pixels differ in colour across the borders of parts than elsewhere on the object.

    Pairs of horizontal and vertical neighbours on the object; distances in Lab.

    Parameters
    ----------
    images : (N, 3, H, W) in [0, 1].
    labels : (N, H, W), 0 is background.

    Returns
    -------
    float, mean distance across borders over mean distance within parts: 1 where borders ignore the image, larger where
    they follow its edges. NaN without a border.
    """
    lab = rgb_to_lab(images)
    across, within = [], []
    for axis in (1, 2):  # of (N, H, W)
        size = labels.shape[axis] - 1
        first, second = labels.narrow(axis, 0, size), labels.narrow(axis, 1, size)
        distance = (lab.narrow(axis + 1, 1, size) - lab.narrow(axis + 1, 0, size)).norm(dim=1)  # (N, H or H - 1, ...)
        inside = (first > 0) & (second > 0)
        across.append(distance[inside & (first != second)])
        within.append(distance[inside & (first == second)])
    return float(torch.cat(across).mean() / torch.cat(within).mean())
