"""Lessons 00 and 01: annotations, what each loss sees, how warps move an image, and a browser of found parts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from partlib_course.contrastive import similarities
from partlib_course.features import PALE, false_colors
from partlib_course.widgets import Interactive, choice, slider, source_points, warp_sliders
from PIL import Image, ImageDraw
from torch import Tensor

from partlib import losses, warps
from partlib.augment import ColorJitter
from partlib.color import rgb_to_lab
from partlib.data.base import Batch, PartDataset, Sample
from partlib.report.plots import match_parts, overlay, part_color, parts_grid, results_grid, to_rgb_array
from partlib.segmenter import PartSegmenter, part_maps, resize


def keypoint_image(sample: Sample, scale: int = 2) -> np.ndarray:
    """The enlarged image with its keypoints: a dot in the color of the part below, a ring where the point is hidden.

    Returns (scale * H, scale * W, 3) uint8.
    """
    assert sample.keypoints is not None and sample.parts is not None
    picture = Image.fromarray(to_rgb_array(sample.image))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for x, y, visible in sample.keypoints.tolist():
        # pixel 0 has its center at 0, and the enlarged image at (scale - 1) / 2
        cx, cy = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
        rim, dot = 2.6 * scale, 1.9 * scale
        draw.ellipse((cx - rim, cy - rim, cx + rim, cy + rim), fill="white" if visible else None, outline="white")
        if visible:
            row, column = (min(max(round(v), 0), n - 1) for v, n in zip((y, x), sample.parts.shape, strict=True))
            nearby = sample.parts[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            color = part_color(int(sample.parts[row, column]) or int(nearby.max()))
            fill = tuple(round(255 * channel) for channel in color)
            draw.ellipse((cx - dot, cy - dot, cx + dot, cy + dot), fill=fill)
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

    Parameters
    ----------
    features : the maps (B, C_l, h_l, w_l) that training uses.
    seed : of the jitter and the warp.
    """
    figure = Figure(figsize=(9.6, 5.5))
    panels: Any = figure.subfigures(2, 2, height_ratios=(1.25, 1))
    images, foreground = batch.images, batch.foreground
    image, inside = images[index], foreground[index]  # (3, H, W), (1, H, W)
    logits = segmenter(images)  # (B, K, H, W)
    maps = part_maps(logits, foreground)
    descriptors = losses.part_descriptors(maps, features)  # (B, K, C)

    # feature consistency: the features of each pixel, and the mean features of its parts, in the same false colors
    stacked = torch.cat([resize(level[index : index + 1], image.shape[-2:])[0] for level in features])  # (C, H, W)
    mean, directions, (low, high) = false_colors(stacked, inside)
    of_parts = torch.einsum("khw,kc->chw", maps[index], descriptors[index])
    colors = [((z.movedim(0, -1) - mean) @ directions - low) / (high - low) for z in (stacked, of_parts)]  # (H, W, 3)
    pale = [c.movedim(-1, 0).clamp(0, 1) * inside + PALE * (1 - inside) for c in colors]  # (3, H, W)
    names = {"image": image, "features\n(3 false colors)": pale[0], "each part's\nmean feature": pale[1]}
    _panel(panels[0, 0], "feature consistency", names)

    # contrast: the cosines of all parts of all images
    labels = (maps.argmax(1) + 1) * (foreground[:, 0] > 0.5)  # (B, H, W)
    _contrast_panel(panels[0, 1], descriptors, [overlay(images[i], labels[i], scale=2) for i in range(len(images))])

    # visual consistency: the image, redrawn, and the difference
    flat = redraw(images, maps)[index]
    difference = (image - flat).abs().mean(0, keepdim=True)  # (1, H, W)
    left_over = (1 - 2 * difference).clamp(0, 1) * inside + PALE * (1 - inside)
    names = {"image": image, "one color\nper part": flat, "what is\nleft over": left_over}
    _panel(panels[1, 0], "visual consistency", names)

    # equivariance: milder than in training, and zooming out, as the whole object should stay in the picture
    generator = torch.Generator().manual_seed(seed)
    points = warps.random_points(len(images), generator, jitter=0.06, scale=(1.1, 1.25), angle=35, shift=0.05)
    grid = warps.thin_plate_grid(points.to(images.device), (image.shape[-2], image.shape[-1]))
    warped = warps.warp(ColorJitter()(images, generator), grid)
    warped_inside = (warps.warp(foreground, grid) > 0.5).long()[index, 0]  # (H, W)
    first, second = ((z[index].argmax(0) + 1) * warped_inside for z in (warps.warp(logits, grid), segmenter(warped)))
    same = torch.where(first > 0, (first == second).float(), PALE)
    ways = {
        "first parts,\nthen warp": overlay(warped[index], first, scale=2),
        "first warp,\nthen parts": overlay(warped[index], second, scale=2),
        "where the\ntwo differ": same[None],
    }
    _panel(panels[1, 1], "equivariance", ways)
    return figure


def _panel(panel: Any, title: str, pictures: Mapping[str, Any]) -> None:
    panel.suptitle(title, fontsize=11, weight="bold")
    axes = panel.subplots(1, len(pictures))
    for ax, (name, picture) in zip(axes, pictures.items(), strict=True):
        gray = picture.shape[0] == 1
        ax.imshow(to_rgb_array(picture.expand(3, -1, -1) if gray else picture), interpolation=None if gray else "lanczos")
        ax.set_title(name, fontsize=9)
        ax.set_axis_off()


def _contrast_panel(panel: Any, descriptors: Tensor, pictures: Sequence[np.ndarray]) -> None:
    panel.suptitle("contrast between images", fontsize=11, weight="bold")
    left, right = panel.subplots(1, 2, width_ratios=(2.6, 1))
    batch, num_parts, _ = descriptors.shape
    shown = left.imshow(similarities(descriptors).cpu().numpy(), cmap="gray", vmin=-1, vmax=1)
    for k in range(num_parts):
        corner = (k * batch - 0.5, k * batch - 0.5)
        left.add_patch(Rectangle(corner, batch, batch, fill=False, lw=3, edgecolor=part_color(k + 1)))
    left.set_title("how alike all parts\nof the batch are", fontsize=9)
    bar = panel.colorbar(shown, ax=left, location="left", shrink=0.8, ticks=[-1, 0, 1])
    bar.set_label("cosine similarity", fontsize=8)
    gaps = [np.pad(picture, ((0, 8), (0, 0), (0, 0)), constant_values=255) for picture in pictures[:3]]
    right.imshow(np.concatenate(gaps), interpolation="lanczos")
    right.set_title("three of\nits images", fontsize=9)
    for ax in (left, right):
        ax.set_axis_off()


def warp_figure(image: Tensor, points: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Where warps read from (above, or left of a single one) and what comes out (below, or right).

    ``image`` is (3, H, W), ``points`` the source points (25, 2) of each warp.
    """
    single = len(points) == 1
    figure = Figure(figsize=(7.2, 3.7) if single else (2.4 * len(points), 5.0))
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
    """Move one control point of a thin-plate spline, then scale and turn all of them; see the warped image (3, H, W)."""
    examples = {
        "identity": (12, 0.0, 0.0, 1.0, 0.0),
        "one point moved": (12, 0.25, -0.2, 1.0, 0.0),
        "scale below 1 magnifies": (12, 0.0, 0.0, 0.7, 0.0),
        "turned, one point moved": (12, 0.25, -0.2, 1.1, 30.0),
    }
    static = warp_figure(image, [source_points(*values) for values in examples.values()], list(examples))

    def draw(**values: Any) -> Figure:
        return warp_figure(image, [source_points(**values)], ["where it is read"])

    return Interactive(draw, warp_sliders, static)


def part_browser(dataset: PartDataset, labels: Mapping[str, Tensor], columns: Sequence[int] = range(6)) -> Interactive:
    """Look through a data set: each image beside its annotated parts and the parts that one of several methods found.

    Parameters
    ----------
    dataset : N samples with annotated parts.
    labels : method -> labels (N, H, W), 0 is background; the last is shown first. Colors follow the annotated part
        that a found part overlaps most over the whole data set.
    columns : samples that the static figure shows.
    """
    samples = (dataset[i] for i in range(len(dataset)))
    truth = torch.stack([s.parts for s in samples if s.parts is not None])  # (N, H, W)
    matched = {name: match_parts(found, truth).to(torch.uint8) for name, found in labels.items()}  # (N, H, W) each

    def draw(image: int, method: str, opacity: float) -> Figure:
        sample = dataset[image]
        figure = Figure(figsize=(9.0, 3.5))
        scale = max(1, round(256 / sample.image.shape[-1]))
        species = dataset.label_names[sample.label] if dataset.label_names else ""
        pictures = {f"{sample.name}  {species}": to_rgb_array(sample.image)}
        for title, found in {"annotated": truth[image], method: matched[method][image]}.items():
            pictures[title] = overlay(sample.image, found, alpha=opacity, scale=scale)
        for ax, (title, picture) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
            ax.imshow(picture, interpolation="lanczos")
            ax.set_title(title, fontsize=9)
            ax.set_axis_off()
        handles = [Rectangle((0, 0), 1, 1, color=part_color(k + 1)) for k in range(len(dataset.part_names))]
        figure.legend(handles, dataset.part_names, loc="outside lower center", ncols=max(1, len(handles)))
        return figure

    methods = list(labels)
    shown = {name: found[list(columns)] for name, found in labels.items()}
    return Interactive(
        draw,
        lambda: {
            "image": slider("image", 0, 0, len(dataset) - 1),
            "method": choice("method", methods, methods[-1]),
            "opacity": slider("opacity", 0.6, 0, 1, 0.1),
        },
        results_grid([dataset[i] for i in columns], shown, part_names=dataset.part_names, cell=128),
    )
