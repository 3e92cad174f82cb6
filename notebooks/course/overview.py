"""Lessons 00 and 01: annotations, what the losses see, how warps move an image, and a browser of found parts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from partlib_course.features import PALE, color_axes
from partlib_course.widgets import Interactive, choice, number_points, slider, source_points, warp_sliders
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from partlib import losses, warps
from partlib.augment import rgb_to_lab
from partlib.data.base import PartDataset, Sample
from partlib.evaluation import annotated_parts
from partlib.report.plots import match_parts, overlay, part_color, parts_grid, to_rgb_array
from partlib.segmenter import resize


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


def feature_pictures(maps: Tensor, features: Sequence[Tensor], foreground: Tensor) -> dict[str, Tensor]:
    """Features, and the mean feature of every part, in the same three false colors, as pictures (B, 3, H, W).

    ``maps`` are the part maps (B, K, H, W), ``features`` the maps (B, C_l, h_l, w_l) that the losses read.
    """
    size = max((z.shape[-2:] for z in features), key=math.prod)
    cells = torch.cat([resize(z, size) for z in features], dim=1)  # (B, C, h, w)
    mean, directions, (low, high) = color_axes(cells, foreground)
    pixels = resize(((cells.movedim(1, -1) - mean) @ directions).movedim(-1, 1), maps.shape[-2:])  # (B, 3, H, W)
    of_parts = (losses.part_descriptors(maps, features) - mean) @ directions  # (B, K, 3)
    means = torch.einsum("bkhw,bkc->bchw", maps, of_parts)  # (B, 3, H, W)

    def picture(projected: Tensor) -> Tensor:
        colors = (projected - low[:, None, None]) / (high - low)[:, None, None]
        return colors.clamp(0, 1) * foreground + PALE * (1 - foreground)

    return {"features in 3 false colours": picture(pixels), "mean feature of each part": picture(means)}


def similarity_figure(cosines: Mapping[str, Tensor], names: Sequence[str], numbers: Sequence[int]) -> Figure:
    """Cosines (K B, K B) of all parts of a batch, ordered by part, as heat maps with a frame around each part.

    ``names`` are of the parts, ``numbers`` those whose colors they have. The brightest values, of parts with themselves
    and of parts of one image, are all drawn alike, so that differences between images can be seen.
    """
    figure = Figure(figsize=(9.6, 4.4))
    axes = figure.subplots(1, len(cosines), squeeze=False)[0]
    others = torch.cat([matrix[~torch.eye(len(matrix), dtype=torch.bool)] for matrix in cosines.values()])
    limits: dict[str, Any] = {"vmin": float(others.min()), "vmax": float(others.quantile(0.92)), "cmap": "magma"}
    for ax, (name, matrix) in zip(axes, cosines.items(), strict=True):
        shown = ax.imshow(matrix.numpy(), **limits)
        batch = len(matrix) // len(names)
        for k, number in enumerate(numbers):
            corner = (k * batch - 0.5, k * batch - 0.5)
            ax.add_patch(Rectangle(corner, batch, batch, fill=False, lw=3.5, edgecolor=part_color(number)))
        middles = [(k + 0.5) * batch - 0.5 for k in range(len(names))]
        ax.set_xticks(middles, names)
        ax.set_yticks(middles, names, rotation=90, va="center")
        ax.tick_params(length=0)
        ax.set_title(name)
    figure.colorbar(shown, ax=list(axes), shrink=0.85, label="cosine similarity", extend="max")
    return figure


def warp_figure(image: Tensor, points: Sequence[Tensor], titles: Sequence[str]) -> Figure:
    """Where warps with source points (25, 2) read an image (3, H, W) from (above, or left) and what comes out."""
    single = len(points) == 1
    figure = Figure(figsize=(7.2, 4.0) if single else (2.4 * len(points), 5.0))
    axes: Any = figure.subplots(1, 2, squeeze=False).T if single else figure.subplots(2, len(points))  # (2, warps)
    reach = max(1.0, *(float(source.abs().max()) for source in points)) + 0.15  # all numbers lie within the axes
    for read, written, source, title in zip(*axes, points, titles, strict=True):
        grid = warps.thin_plate_grid(source[None], (image.shape[-2], image.shape[-1]))  # (1, H, W, 2)
        _draw_mesh(read, image, source, reach)
        _draw_mesh(written, warps.warp(image[None], grid)[0], warps.identity_points(), 1.15)
        read.set_title(title)
    if single:
        axes[1, 0].set_title("what comes out")
    return figure


def _draw_mesh(ax: Axes, image: Tensor, points: Tensor, limit: float) -> None:
    """An image over [-1, 1]^2 with the 5 x 5 control points, numbered and joined to a net."""
    ax.imshow(to_rgb_array(image), extent=(-1, 1, 1, -1), interpolation="lanczos")
    side = math.isqrt(len(points))
    net = points.reshape(side, side, 2).cpu().numpy()  # (25, 2) -> (5, 5, 2), x slow
    for line in (*net, *net.transpose(1, 0, 2)):
        ax.plot(line[:, 0], line[:, 1], color="white", lw=2.2, alpha=0.8)
        ax.plot(line[:, 0], line[:, 1], color=part_color(1), lw=1.1)
    number_points(ax, points)
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
    truth = annotated_parts(dataset)  # (N, H, W) uint8, as labels are: a browser holds them all
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

    rows: dict[str, Sequence[Any]] = {"image": [dataset[i].image for i in columns]}
    for name, parts in {"annotated": truth, **matched}.items():
        rows[name] = [overlay(dataset[i].image, parts[i]) for i in columns]
    methods = list(labels)
    return Interactive(
        draw,
        lambda: {
            "image": slider("image", 0, 0, len(dataset) - 1),
            "method": choice("method", methods, methods[-1]),
            "opacity": slider("opacity", 0.6, 0, 1, 0.1),
        },
        parts_grid(rows, legend=dataset.part_names, cell=924 // len(columns) - 4),
    )
