"""Lesson 07, visual consistency: what flat colors can and cannot say about parts."""

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from partlib_course.features import PALE
from partlib_course.overview import redraw
from partlib_course.widgets import Interactive, choice, slider
from sklearn.cluster import KMeans
from torch import Tensor

from partlib.augment import rgb_to_lab
from partlib.data.base import PartDataset, Sample
from partlib.report.plots import PART_COLORS, Picture, overlay, parts_grid, to_rgb_array


def one_hot(labels: Tensor, num_parts: int | None = None) -> Tensor:
    """Hard part maps (N, K, H, W) float32 of labels (N, H, W), 0 is background."""
    highest = int(labels.max()) if num_parts is None else num_parts
    return torch.stack([(labels == k).float() for k in range(1, highest + 1)], dim=1)


def color_clusters(image: Tensor, foreground: Tensor, num_parts: int, space: str = "lab", seed: int = 0) -> Tensor:
    """K-means on the colors of one object: the segmentation with (nearly) the lowest visual loss that K parts can have.

    ``image`` is (3, H, W) in [0, 1], ``foreground`` (1, H, W), ``space`` "lab" or "rgb". Labels (H, W) int64 are 0 off
    the object and 1..K from dark to light.
    """
    inside = foreground[0] > 0.5  # (H, W)
    values = rgb_to_lab(image[None]) if space == "lab" else image[None]  # (1, 3, H, W)
    fitted = KMeans(num_parts, n_init=3, random_state=seed).fit(values[0, :, inside].T.numpy())  # (P, 3)
    lightness = fitted.cluster_centers_[:, 0] if space == "lab" else fitted.cluster_centers_.mean(1)
    rank = torch.from_numpy(lightness.argsort().argsort())  # cluster -> place from dark to light
    labels = torch.zeros(inside.shape, dtype=torch.long)
    labels[inside] = rank[torch.from_numpy(fitted.labels_).long()] + 1
    return labels


def boundary_contrast(images: Tensor, labels: Tensor) -> float:
    """Mean Lab distance of neighboring pixels across boundaries of parts, over that of neighbors within parts.

    1 where boundaries ignore the image, larger where they follow its edges, NaN without a boundary. ``images`` are
    (N, 3, H, W) in [0, 1], ``labels`` (N, H, W) with 0 for background, which has no boundaries.
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


def flat_image(sample: Sample, labels: Tensor) -> Tensor:
    """The sample (3, H, W) redrawn with the mean Lab color of each part of ``labels`` (H, W)."""
    return redraw(sample.image[None], one_hot(labels[None]))[0]


def residual_image(sample: Sample, labels: Tensor) -> Tensor:
    """What the flat redrawing misses, (3, H, W): white where nothing, black from a Lab distance of 50 on."""
    difference = rgb_to_lab(sample.image[None]) - rgb_to_lab(flat_image(sample, labels)[None])  # (1, 3, H, W)
    shade = (1 - difference.norm(dim=1, keepdim=True) / 50).clamp(0, 1)[0]  # (1, H, W)
    inside = (labels > 0).float()
    return (shade * inside + PALE * (1 - inside)).expand(3, -1, -1)


def redraw_rows(samples: Sequence[Sample], segmentations: Mapping[str, Tensor], rest: bool = False) -> Figure:
    """N images, redrawn from the labels (N, H, W) of every segmentation; with ``rest`` what is left over below each."""
    rows: dict[str, Sequence[Picture]] = {"image": [s.image for s in samples]}
    for title, labels in segmentations.items():
        rows[title] = [flat_image(s, found) for s, found in zip(samples, labels, strict=True)]
        if rest:
            rows[f"left over, {title}"] = [residual_image(s, found) for s, found in zip(samples, labels, strict=True)]
    return parts_grid(rows, cell=128)


def panels(pictures: Mapping[str, Picture], notes: Mapping[str, str] | None = None, columns: int = 4) -> Figure:
    """Pictures of one shape under their titles, ``columns`` in a row, with a note below where there is one."""
    rows = -(-len(pictures) // columns)
    shown = {title: to_rgb_array(picture) for title, picture in pictures.items()}
    height, width, _ = next(iter(shown.values())).shape
    lines = 1 + max((note.count("\n") + 1 for note in (notes or {}).values()), default=0)
    figure = Figure(figsize=(9.6, 0.1 + rows * (9.6 / columns * height / width + 0.17 * lines)))
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for ax, (title, picture) in zip(axes, shown.items(), strict=False):
        ax.imshow(picture, interpolation="lanczos")
        ax.set(title=title, xlabel=(notes or {}).get(title, ""))
    for ax in figure.axes:
        ax.set(xticks=[], yticks=[], frame_on=False)
    return figure


def cluster_page(sample: Sample, num_parts: int, space: str) -> Figure:
    """One image, its clusters of colors, the redrawing from their means, and what is left over."""
    labels = color_clusters(sample.image, sample.foreground, num_parts, space)
    pictures: dict[str, Picture] = {
        "image": sample.image,
        f"{num_parts} clusters in {'Lab' if space == 'lab' else 'RGB'}": overlay(sample.image, labels, scale=2),
        "redrawn": flat_image(sample, labels),
        "left over": residual_image(sample, labels),
    }
    return panels(pictures)


def color_pairs(pairs: Sequence[tuple[Tensor, Tensor]]) -> Figure:
    """Pairs of RGB colors (3,) in [0, 1] side by side, with their distance in RGB and in Lab written below."""
    figure = Figure(figsize=(2.4 * len(pairs), 2.4))
    for ax, pair in zip(figure.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
        colors = torch.stack(pair)  # (2, 3)
        ax.imshow(colors[None].numpy(), extent=(0, 2, 0, 1.6), aspect="equal")
        rgb, lab = ((c[0] - c[1]).norm() for c in (colors, rgb_to_lab(colors[:, :, None, None])))
        ax.set(xticks=[], yticks=[], frame_on=False, xlabel=f"RGB {rgb:.2f}\nLab {lab:.0f}")
    return figure


def shift_curves(pixels: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Losses while the annotated boundaries move by ``pixels``; 0 is the annotation, 1 a single part."""
    figure = Figure(figsize=(9.6, 3.6))
    ax = figure.subplots()
    frame = pd.DataFrame(curves, index=pd.Index(pixels))
    sns.lineplot(frame, markers=True, dashes=False, palette=list(PART_COLORS[: len(curves)]), ax=ax)
    ax.set(xlabel="borders moved by (pixels)", ylabel="loss: 0 annotation, 1 one single part")
    ax.grid()
    return figure


def redraw_explorer(dataset: PartDataset, columns: Sequence[int] = range(6)) -> Interactive:
    """Choose an image, K and the color space; see the clusters of its colors and the image redrawn from their means.

    The static figure shows the samples ``columns``.
    """
    samples = [dataset[i] for i in columns]
    clusters = {k: [color_clusters(s.image, s.foreground, k) for s in samples] for k in (2, 4, 8, 16)}
    return Interactive(
        lambda image, parts, space: cluster_page(dataset[image], parts, space),
        lambda: {
            "image": slider("image", columns[0], 0, len(dataset) - 1),
            "parts": slider("K", 4, 1, 16),
            "space": choice("space", [("Lab", "lab"), ("RGB", "rgb")], "lab"),
        },
        redraw_rows(samples, {f"K = {k}": torch.stack(labels) for k, labels in clusters.items()}),
    )
