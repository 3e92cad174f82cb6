"""Figures of single lessons: what a sample holds, what each loss sees, how a warp moves an image.

General pictures (overlays, grids, curves) are in :mod:`partlib.plots`. As there, functions return arrays or closed
matplotlib figures and compute no score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from partlib import losses, warps
from partlib.augment import ColorJitter
from partlib.color import rgb_to_lab
from partlib.data.base import Batch, Sample
from partlib.report.plots import INK, overlay, part_color, parts_grid, to_rgb_array
from partlib.segmenter import PartSegmenter, part_maps, resize

PALE = 0.92  # grey of what lies outside the object


def enlarge(image: Tensor | np.ndarray, scale: int) -> Image.Image:
    """An image (see :func:`partlib.plots.to_rgb_array`) ``scale`` times as large, smooth."""
    picture = Image.fromarray(to_rgb_array(image))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


def keypoint_image(sample: Sample, scale: int = 2) -> np.ndarray:
    """The image with its keypoints: a dot in the colour of the part below, a ring where the point is hidden.

    Returns
    -------
    (scale * H, scale * W, 3) uint8.
    """
    assert sample.keypoints is not None, "the data set has no keypoints"
    picture = enlarge(sample.image, scale)
    draw = ImageDraw.Draw(picture)
    for x, y, visible in sample.keypoints.tolist():
        # pixel 0 has its centre at 0, and the enlarged image at (scale - 1) / 2
        cx, cy = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
        rim, dot = 2.6 * scale, 1.9 * scale
        draw.ellipse((cx - rim, cy - rim, cx + rim, cy + rim), fill="white" if visible else None, outline="white")
        if visible:
            draw.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=_color_below(sample, x, y))
    return np.asarray(picture)


def _color_below(sample: Sample, x: float, y: float) -> tuple[int, ...]:
    """Colour of the annotated part at (x, y), or of the nearest one within two pixels."""
    assert sample.parts is not None
    height, width = sample.parts.shape
    column, row = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
    patch = sample.parts[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    label = int(sample.parts[row, column]) or int(patch.max())
    return tuple(round(255 * channel) for channel in part_color(label))


def annotation_grid(samples: Sequence[Sample], part_names: Sequence[str] = (), cell: int = 128) -> Figure:
    """What a data set knows about its images, a row each: image, mask, parts, and keypoints where there are any."""
    rows: dict[str, Sequence] = {
        "image": [s.image for s in samples],
        "mask": [s.foreground.expand(3, -1, -1) for s in samples],
        "parts": [overlay(s.image, s.parts, scale=2) for s in samples if s.parts is not None],
    }
    if samples[0].keypoints is not None:
        rows["keypoints"] = [keypoint_image(s) for s in samples]
    return parts_grid(rows, legend=part_names, cell=cell)


@dataclass
class LossViews:
    """What the four losses see of one batch, everything at the size of the images.

    Attributes
    ----------
    index : the image that is shown where one must do.
    images, foreground : (B, 3, H, W) and (B, 1, H, W).
    maps : (B, K, H, W), softmax times foreground.
    features : (C, H, W), all layers of image ``index`` upsampled and stacked.
    descriptors : (B, K, C), the mean feature of every part.
    flat : (B, 3, H, W), every part in its mean colour.
    warped_images : (B, 3, H, W), another jitter of the images, warped.
    warped_labels, labels_of_warped : (B, H, W), the parts warped, and the parts of the warped image.
    """

    index: int
    images: Tensor
    foreground: Tensor
    maps: Tensor
    features: Tensor
    descriptors: Tensor
    flat: Tensor
    warped_images: Tensor
    warped_labels: Tensor
    labels_of_warped: Tensor


@torch.no_grad()
def loss_views(
    segmenter: PartSegmenter, batch: Batch, features: list[Tensor], index: int = 0, seed: int = 0
) -> LossViews:
    """Compute what :func:`four_losses` draws; ``features`` are the maps (B, C_l, h_l, w_l) that training uses."""
    generator = torch.Generator().manual_seed(seed)
    images, foreground = batch.images, batch.foreground
    logits = segmenter(images)  # (B, K, H, W)
    maps = part_maps(logits, foreground)
    size = (images.shape[-2], images.shape[-1])
    # smaller than training's warps, and zooming out: the whole object should stay in the picture
    points = warps.random_points(len(images), generator, jitter=0.06, scale=(1.1, 1.25), angle=35, shift=0.05)
    grid = warps.thin_plate_grid(points.to(images.device), size)
    warped = warps.warp(ColorJitter()(images, generator), grid)
    inside = (warps.warp(foreground, grid) > 0.5).long()[:, 0]  # (B, H, W)
    return LossViews(
        index=index,
        images=images,
        foreground=foreground,
        maps=maps,
        features=torch.cat([resize(level[index : index + 1], size)[0] for level in features]),
        descriptors=losses.part_descriptors(maps, features),
        flat=redraw(images, maps),
        warped_images=warped,
        warped_labels=(warps.warp(logits, grid).argmax(1) + 1) * inside,
        labels_of_warped=(segmenter(warped).argmax(1) + 1) * inside,
    )


def redraw(images: Tensor, maps: Tensor) -> Tensor:
    """Images (B, 3, H, W) redrawn with one colour per part, its mean in CIE Lab; maps (B, K, H, W)."""
    from skimage.color import lab2rgb  # imported on use: it takes tens of megabytes

    mean_colors = losses.part_descriptors(maps, rgb_to_lab(images))  # (B, K, 3)
    lab = torch.einsum("bkhw,bkc->bhwc", maps, mean_colors)  # (B, H, W, 3)
    inside = maps.sum(1)[:, None]  # (B, 1, H, W)
    rgb = torch.from_numpy(lab2rgb(lab.cpu().numpy())).permute(0, 3, 1, 2).to(maps)  # (B, H, W, 3) -> (B, 3, H, W)
    return rgb * inside + PALE * (1 - inside)


def false_colors(features: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The map from features to colours that shows most of their variation over the foreground.

    Parameters
    ----------
    features : (C, H, W).
    foreground : (1, H, W).

    Returns
    -------
    mean (C,), directions (C, 3), and limits (2, 3), low and high, so that
    ``((z - mean) @ directions - low) / (high - low)`` is mostly in [0, 1].
    """
    vectors = features.movedim(0, -1)[foreground[0] > 0.5]  # (pixels, C)
    mean = vectors.mean(0)
    _, _, directions = torch.linalg.svd((vectors - mean).T @ (vectors - mean))
    axes = directions[:3].T  # (C, 3)
    axes = axes * torch.sign(axes.sum(0))  # a principal axis has no sign of its own
    limits = torch.quantile((vectors - mean) @ axes, torch.tensor([0.02, 0.98]).to(vectors), dim=0)  # (2, 3)
    return mean, axes, limits


def four_losses(views: LossViews) -> Figure:
    """One panel per loss, drawn from one image of a batch (and, for the contrast, from all of them)."""
    figure = plt.figure(figsize=(9.6, 5.5), dpi=100, layout="constrained")
    panels = np.asarray(figure.subfigures(2, 2, height_ratios=(1.25, 1)))
    _draw_feature_panel(panels[0, 0], views)
    _draw_contrast_panel(panels[0, 1], views)
    _draw_visual_panel(panels[1, 0], views)
    _draw_equivariance_panel(panels[1, 1], views)
    plt.close(figure)
    return figure


def _panel(panel, title: str, names: Sequence[str], ratios: Sequence[float] | None = None) -> list[Axes]:
    panel.suptitle(title, fontsize=11, color=INK, weight="bold")
    axes = panel.subplots(1, len(names), squeeze=False, width_ratios=ratios)[0]
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, fontsize=9, color=INK)
        ax.set_axis_off()
    return list(axes)


def _draw_feature_panel(panel, views: LossViews) -> None:
    names = ("image", "features\n(3 false colours)", "each part's\nmean feature")
    axes = _panel(panel, "feature consistency", names)
    index = views.index
    mean, directions, (low, high) = false_colors(views.features, views.foreground[index])
    inside = views.foreground[index, 0, :, :, None]  # (H, W, 1)

    def colors(vectors: Tensor) -> np.ndarray:
        rgb = (((vectors - mean) @ directions - low) / (high - low)).clamp(0, 1)  # (H, W, 3)
        return (rgb * inside + PALE * (1 - inside)).cpu().numpy()

    axes[0].imshow(to_rgb_array(views.images[index]), interpolation="lanczos")
    axes[1].imshow(colors(views.features.movedim(0, -1)))
    axes[2].imshow(colors(torch.einsum("khw,kc->hwc", views.maps[index], views.descriptors[index])))


def _draw_contrast_panel(panel, views: LossViews) -> None:
    names = ("how alike all parts\nof the batch are", "three of\nits images")
    axes = _panel(panel, "contrast between images", names, ratios=(2.6, 1))
    batch, num_parts, _ = views.descriptors.shape
    by_part = views.descriptors.transpose(0, 1).flatten(0, 1)  # (B, K, C) -> (K, B, C) -> (K B, C)
    unit = torch.nn.functional.normalize(by_part, dim=1)
    shown = axes[0].imshow((unit @ unit.T).cpu().numpy(), cmap="gray", vmin=-1, vmax=1)
    for k in range(num_parts):
        corner = (k * batch - 0.5, k * batch - 0.5)
        axes[0].add_patch(plt.Rectangle(corner, batch, batch, fill=False, lw=3, edgecolor=part_color(k + 1)))
    bar = panel.colorbar(shown, ax=axes[0], location="left", shrink=0.8, ticks=[-1, 0, 1])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("cosine similarity", fontsize=8)
    labels = (views.maps.argmax(1) + 1) * (views.foreground[:, 0] > 0.5)  # (B, H, W)
    pictures = [overlay(views.images[i], labels[i], scale=2) for i in range(min(3, batch))]
    gaps = [np.pad(picture, ((0, 8), (0, 0), (0, 0)), constant_values=255) for picture in pictures]
    axes[1].imshow(np.concatenate(gaps), interpolation="lanczos")


def _draw_visual_panel(panel, views: LossViews) -> None:
    names = ("image", "one colour\nper part", "what is\nleft over")
    axes = _panel(panel, "visual consistency", names)
    index = views.index
    inside = views.foreground[index]  # (1, H, W)
    difference = (views.images[index] - views.flat[index]).abs().mean(0, keepdim=True)  # (1, H, W)
    left_over = (1 - 2 * difference).clamp(0, 1) * inside + PALE * (1 - inside)
    axes[0].imshow(to_rgb_array(views.images[index]), interpolation="lanczos")
    axes[1].imshow(to_rgb_array(views.flat[index]), interpolation="lanczos")
    axes[2].imshow(left_over[0].cpu().numpy(), cmap="gray", vmin=0, vmax=1)


def _draw_equivariance_panel(panel, views: LossViews) -> None:
    names = ("first parts,\nthen warp", "first warp,\nthen parts", "where the\ntwo differ")
    axes = _panel(panel, "equivariance", names)
    index = views.index
    image, first, second = views.warped_images[index], views.warped_labels[index], views.labels_of_warped[index]
    axes[0].imshow(overlay(image, first, scale=2))
    axes[1].imshow(overlay(image, second, scale=2))
    same = torch.where(first > 0, (first == second).float(), PALE)
    axes[2].imshow(same.cpu().numpy(), cmap="gray", vmin=0, vmax=1)


def warp_figure(image: Tensor, points: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Where warps read from (above, or left of a single one) and what comes out (below, or right).

    Parameters
    ----------
    image : (3, H, W).
    points : source points (25, 2) of each warp.
    titles : one per warp.
    """
    side_by_side = len(points) == 1
    shape, width = ((1, 2), 7.2) if side_by_side else ((2, len(points)), 2.4 * len(points))
    figure, grid_of_axes = plt.subplots(*shape, figsize=(width, 3.7 if side_by_side else 5.0), dpi=100, squeeze=False)
    axes = grid_of_axes.T if side_by_side else grid_of_axes  # (2, warps)
    for column, (source, title) in enumerate(zip(points, titles, strict=True)):
        grid = warps.thin_plate_grid(source[None], (image.shape[-2], image.shape[-1]))  # (1, H, W, 2)
        read, written = axes[0, column], axes[1, column]
        read.imshow(to_rgb_array(image), extent=(-1, 1, 1, -1), interpolation="lanczos")
        _draw_mesh(read, source)
        read.set(xlim=(-1.35, 1.35), ylim=(1.35, -1.35))
        read.set_title(title, fontsize=10, color=INK)
        written.imshow(to_rgb_array(warps.warp(image[None], grid)[0]), extent=(-1, 1, 1, -1), interpolation="lanczos")
        _draw_mesh(written, warps.identity_points())
        written.set(xlim=(-1.05, 1.05), ylim=(1.05, -1.05))
        if side_by_side:
            written.set_title("what comes out", fontsize=10, color=INK)
    for ax in axes.flat:
        ax.set_axis_off()
    figure.tight_layout(pad=0.3)
    # tight_layout gives the squares nearly all of the height, and their titles too little
    figure.subplots_adjust(top=0.92 if side_by_side else 0.95)
    plt.close(figure)
    return figure


def _draw_mesh(ax: Axes, points: Tensor) -> None:
    """The 5 x 5 control points, joined to a net."""
    side = math.isqrt(len(points))
    net = points.reshape(side, side, 2).cpu().numpy()  # (25, 2) -> (5, 5, 2), x slow
    for line in (*net, *net.transpose(1, 0, 2)):
        ax.plot(line[:, 0], line[:, 1], color="white", lw=2.2, alpha=0.8)
        ax.plot(line[:, 0], line[:, 1], color=part_color(1), lw=1.1)
    ax.scatter(net[..., 0], net[..., 1], s=22, color=part_color(2), edgecolor="white", lw=0.8, zorder=3)
