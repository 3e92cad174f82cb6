"""Lessons 00 and 01: annotations, what each loss sees, how warps move an image, and a browser of found parts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from partlib_course.contrastive import similarities
from partlib_course.features import PALE, false_colors
from partlib_course.widgets import Interactive, choice, slider, source_points, warp_sliders
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from partlib import losses, warps
from partlib.augment import ColorJitter, rgb_to_lab
from partlib.data.base import Batch, PartDataset, Sample
from partlib.report.plots import match_parts, overlay, part_color, parts_grid, results_grid, to_rgb_array
from partlib.segmenter import PartSegmenter, part_maps, resize


def keypoint_image(sample: Sample, scale: int = 2) -> np.ndarray:
    """The enlarged image with its keypoints: a dot in the color of the part below, a ring where the point is hidden.

    Returns (scale * H, scale * W, 3) uint8.
    """
    assert sample.keypoints is not None
    assert sample.parts is not None
    picture = Image.fromarray(to_rgb_array(sample.image))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    nearby = F.max_pool2d(sample.parts[None].float(), 5, stride=1, padding=2)[0].long()  # (H, W)
    below = torch.where(sample.parts > 0, sample.parts, nearby)
    for x, y, visible in sample.keypoints.tolist():
        # pixel 0 has its center at 0, and the enlarged image at (scale - 1) / 2
        cx, cy = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
        rim, dot = 2.6 * scale, 1.9 * scale
        draw.ellipse((cx - rim, cy - rim, cx + rim, cy + rim), fill="white" if visible else None, outline="white")
        if visible:
            color = part_color(int(below[min(round(y), len(below) - 1), min(round(x), below.shape[1] - 1)]))
            draw.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=to_hex(color))
    return np.asarray(picture)


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


def redraw(images: Tensor, maps: Tensor) -> Tensor:
    """Images (B, 3, H, W) redrawn with one color per part, its mean in CIE Lab; maps (B, K, H, W)."""
    from skimage.color import lab2rgb  # imported on use: it takes tens of megabytes

    mean_colors = losses.part_descriptors(maps, rgb_to_lab(images))  # (B, K, 3)
    lab = torch.einsum("bkhw,bkc->bhwc", maps, mean_colors)  # (B, H, W, 3)
    inside = maps.sum(1)[:, None]  # (B, 1, H, W)
    rgb = torch.from_numpy(lab2rgb(lab.cpu().numpy())).permute(0, 3, 1, 2).to(maps)  # (B, H, W, 3) -> (B, 3, H, W)
    return rgb * inside + PALE * (1 - inside)


@torch.no_grad()
def four_losses(
    segmenter: PartSegmenter, batch: Batch, features: Sequence[Tensor], index: int = 0, seed: int = 0
) -> Figure:
    """One panel per loss, drawn from image ``index`` of a batch (for the contrast, from all of them).

    Features are the maps (B, C_l, h_l, w_l) that training uses; ``seed`` is of the jitter and the warp.
    """
    images, foreground = batch.images, batch.foreground
    image, inside = images[index], foreground[index]  # (3, H, W), (1, H, W)
    logits = segmenter(images)  # (B, K, H, W)
    maps = part_maps(logits, foreground)
    descriptors = losses.part_descriptors(maps, features)  # (B, K, C)
    figure = Figure(figsize=(9.6, 5.5))
    panels: Any = figure.subfigures(2, 2, height_ratios=(1.25, 1))

    def pale(picture: Tensor) -> Tensor:
        return picture.clamp(0, 1) * inside + PALE * (1 - inside)

    # feature consistency: the features of each pixel, and the mean features of its parts, in the same false colors
    stacked = torch.cat([resize(level[index : index + 1], image.shape[-2:])[0] for level in features])  # (C, H, W)
    mean, directions, (low, high) = false_colors(stacked, inside)
    pixels = stacked.movedim(0, -1), torch.einsum("khw,kc->hwc", maps[index], descriptors[index])  # (H, W, C) each
    colors = [pale((((z - mean) @ directions - low) / (high - low)).movedim(-1, 0)) for z in pixels]  # (3, H, W) each
    names = "image", "features\n(3 false colors)", "each part's\nmean feature"
    _panel(panels[0, 0], "feature consistency", names, [image, *colors])

    # contrast: the cosines of all parts of all images
    labels = (maps.argmax(1) + 1) * (foreground[:, 0] > 0.5)  # (B, H, W)
    _contrast_panel(panels[0, 1], descriptors, [overlay(images[i], labels[i], scale=2) for i in range(len(images))])

    # visual consistency: the image, redrawn, and the difference
    flat = redraw(images, maps)[index]
    left_over = pale(1 - 2 * (image - flat).abs().mean(0, keepdim=True))  # (1, H, W)
    names = "image", "one color\nper part", "what is\nleft over"
    _panel(panels[1, 0], "visual consistency", names, [image, flat, left_over])

    # equivariance: milder than in training, and zooming out, as the whole object should stay in the picture
    generator = torch.Generator().manual_seed(seed)
    points = warps.random_points(len(images), generator, jitter=0.06, scale=(1.1, 1.25), angle=35, translate=0.05)
    grid = warps.thin_plate_grid(points.to(images.device), (image.shape[-2], image.shape[-1]))
    warped = warps.warp(ColorJitter()(images, generator), grid)
    warped_inside = (warps.warp(foreground, grid) > 0.5).long()[index, 0]  # (H, W)
    first, second = ((z[index].argmax(0) + 1) * warped_inside for z in (warps.warp(logits, grid), segmenter(warped)))
    same = torch.where(first > 0, (first == second).float(), PALE)
    ways = [overlay(warped[index], labels, scale=2) for labels in (first, second)]
    names = "first parts,\nthen warp", "first warp,\nthen parts", "where the\ntwo differ"
    _panel(panels[1, 1], "equivariance", names, [*ways, same[None]])
    return figure


def _panel(panel: Any, title: str, names: Sequence[str], pictures: Sequence[Any] = (), **options: Any) -> Any:
    """Axes beside each other with their names; pictures are in color or (1, H, W), gray."""
    panel.suptitle(title, fontsize=11, weight="bold")
    axes = panel.subplots(1, len(names), **options)
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()
    for ax, picture in zip(axes, pictures, strict=False):
        gray = picture.shape[0] == 1
        ax.imshow(
            to_rgb_array(picture.expand(3, -1, -1) if gray else picture), interpolation=None if gray else "lanczos"
        )
    return axes


def _contrast_panel(panel: Any, descriptors: Tensor, pictures: Sequence[np.ndarray]) -> None:
    names = "how alike all parts\nof the batch are", "three of\nits images"
    left, right = _panel(panel, "contrast between images", names, width_ratios=(2.6, 1))
    batch, num_parts, _ = descriptors.shape
    shown = left.imshow(similarities(descriptors).cpu().numpy(), cmap="gray", vmin=-1, vmax=1)
    for k in range(num_parts):
        corner = (k * batch - 0.5, k * batch - 0.5)
        left.add_patch(Rectangle(corner, batch, batch, fill=False, lw=3, edgecolor=part_color(k + 1)))
    bar = panel.colorbar(shown, ax=left, location="left", shrink=0.8, ticks=[-1, 0, 1])
    bar.set_label("cosine similarity", fontsize=8)
    gaps = [np.pad(picture, ((0, 8), (0, 0), (0, 0)), constant_values=255) for picture in pictures[:3]]
    right.imshow(np.concatenate(gaps), interpolation="lanczos")


def warp_figure(image: Tensor, points: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Where warps with source points (25, 2) read an image (3, H, W) from (above, or left) and what comes out."""
    single = len(points) == 1
    figure = Figure(figsize=(7.2, 4.0) if single else (2.4 * len(points), 5.0))
    axes: Any = figure.subplots(1, 2, squeeze=False).T if single else figure.subplots(2, len(points))  # (2, warps)
    for read, written, source, title in zip(*axes, points, titles, strict=True):
        grid = warps.thin_plate_grid(source[None], (image.shape[-2], image.shape[-1]))  # (1, H, W, 2)
        _draw_mesh(read, image, source, 1.35)
        _draw_mesh(written, warps.warp(image[None], grid)[0], warps.identity_points(), 1.05)
        read.set_title(title)
    if single:
        axes[1, 0].set_title("what comes out")
    return figure


def _draw_mesh(ax: Axes, image: Tensor, points: Tensor, limit: float) -> None:
    """An image over [-1, 1]^2 with the 5 x 5 control points, joined to a net."""
    ax.imshow(to_rgb_array(image), extent=(-1, 1, 1, -1), interpolation="lanczos")
    side = math.isqrt(len(points))
    net = points.reshape(side, side, 2).cpu().numpy()  # (25, 2) -> (5, 5, 2), x slow
    for line in (*net, *net.transpose(1, 0, 2)):
        ax.plot(line[:, 0], line[:, 1], color="white", lw=2.2, alpha=0.8)
        ax.plot(line[:, 0], line[:, 1], color=part_color(1), lw=1.1)
    ax.scatter(net[..., 0], net[..., 1], s=22, color=part_color(2), edgecolor="white", lw=0.8, zorder=3)
    ax.set(xlim=(-limit, limit), ylim=(limit, -limit))
    ax.set_axis_off()


def warp_explorer(image: Tensor) -> Interactive:
    """Move one control point of a thin-plate spline, then scale and turn all; see the warped image (3, H, W)."""
    examples = {
        "identity": (12, 0.0, 0.0, 1.0, 0.0),
        "one point moved": (12, 0.25, -0.2, 1.0, 0.0),
        "scale below 1 magnifies": (12, 0.0, 0.0, 0.7, 0.0),
        "turned, one point moved": (12, 0.25, -0.2, 1.1, 30.0),
    }
    return Interactive(
        lambda **values: warp_figure(image, [source_points(**values)], ["where it is read"]),
        warp_sliders,
        warp_figure(image, [source_points(*values) for values in examples.values()], list(examples)),
    )


def part_browser(dataset: PartDataset, labels: Mapping[str, Tensor], columns: Sequence[int] = range(6)) -> Interactive:
    """Look through a data set: each image beside its annotated parts and the parts that one of several methods found.

    Labels are (N, H, W) by method, 0 is background; the last method is shown first. Colors follow the annotated part
    that a found part overlaps most over the whole data set. The static figure shows the samples ``columns``.
    """
    samples = (dataset[i] for i in range(len(dataset)))
    truth = torch.stack([s.parts for s in samples if s.parts is not None])  # (N, H, W)
    matched = {name: match_parts(found, truth).to(torch.uint8) for name, found in labels.items()}  # (N, H, W) each

    def draw(image: int, method: str, opacity: float) -> Figure:
        sample = dataset[image]
        figure = Figure(figsize=(9.0, 3.7))
        species = dataset.label_names[sample.label] if dataset.label_names else ""
        names = f"{sample.name}  {species}", "annotated", method
        scale = max(1, round(256 / sample.image.shape[-1]))
        found = [overlay(sample.image, parts[image], opacity, scale=scale) for parts in (truth, matched[method])]
        for ax, title, picture in zip(figure.subplots(1, 3), names, [to_rgb_array(sample.image), *found], strict=True):
            ax.imshow(picture, interpolation="lanczos")
            ax.set_title(title, fontsize=9)
            ax.set_axis_off()
        handles = [Rectangle((0, 0), 1, 1, color=part_color(k + 1)) for k in range(len(dataset.part_names))]
        figure.legend(handles, dataset.part_names, loc="outside lower center", ncols=max(1, len(handles)))
        return figure

    methods = list(labels)
    return Interactive(
        draw,
        lambda: {
            "image": slider("image", 0, 0, len(dataset) - 1),
            "method": choice("method", methods, methods[-1]),
            "opacity": slider("opacity", 0.6, 0, 1, 0.1),
        },
        results_grid(dataset, labels, pick=columns, part_names=dataset.part_names, cell=128),
    )
