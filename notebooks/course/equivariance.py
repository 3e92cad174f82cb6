"""Lesson 08, equivariance: both ways around the square, and segmentations that are equivariant for nothing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from partlib_course.features import PALE
from partlib_course.widgets import Interactive, choice, number_points, source_points, warp_sliders
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from partlib import warps
from partlib.losses import equivariance_loss
from partlib.report.plots import INK, overlay, part_color, to_rgb_array

Network = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> part logits (B, K, H, W)
CONFIDENT = 12.0  # a logit that makes a probability of nearly 1


@dataclass(frozen=True)
class TwoWays:
    """Divide and warp, or warp and divide: the warped images with their masks, and the logits of both ways."""

    warped_images: Tensor  # (B, 3, H, W)
    foreground: Tensor  # (B, 1, H, W)
    divided_first: Tensor  # (B, K, H, W)
    warped_first: Tensor  # (B, K, H, W)

    def labels(self) -> tuple[Tensor, Tensor]:
        """Parts (B, H, W) of the two ways, 0 off the warped foreground."""
        inside = (self.foreground[:, 0] > 0.5).long()  # (B, H, W)
        return (self.divided_first.argmax(1) + 1) * inside, (self.warped_first.argmax(1) + 1) * inside

    def divergence(self) -> Tensor:
        """KL of the two ways at every pixel, (B, H, W) in nats, 0 off the warped foreground."""
        target, found = self.divided_first.log_softmax(1), self.warped_first.log_softmax(1)
        return (target.exp() * (target - found)).sum(1) * self.foreground[:, 0]

    def loss(self) -> float:
        """The equivariance loss, nats per pixel of the warped foreground."""
        return float(equivariance_loss(self.warped_first, self.divided_first, self.foreground))

    def agreement(self) -> float:
        """Fraction of the warped foreground where both ways give the same part."""
        first, second = self.labels()
        return float((first == second)[first > 0].float().mean())


@torch.no_grad()
def two_ways(network: Network, images: Tensor, foreground: Tensor, points: Tensor) -> TwoWays:
    """Go both ways around the square image -> parts -> warp, with source points (B, 25, 2), a warp per image."""
    grid = warps.thin_plate_grid(points.to(images), (images.shape[-2], images.shape[-1]))
    warped = warps.warp(images, grid)
    return TwoWays(warped, warps.warp(foreground, grid), warps.warp(network(images), grid), network(warped))


def uniform(images: Tensor, num_parts: int = 4) -> Tensor:
    """Undecided everywhere: equal logits (B, K, H, W)."""
    return images.new_zeros(len(images), num_parts, *images.shape[-2:])


def one_part(images: Tensor, num_parts: int = 4) -> Tensor:
    """Part 1 everywhere, for sure."""
    logits = uniform(images, num_parts)
    logits[:, 0] = CONFIDENT
    return logits


def stripes(images: Tensor, num_parts: int = 4) -> Tensor:
    """Parts that stay where they are in the picture: vertical stripes, whatever it shows."""
    width = images.shape[-1]
    column = torch.arange(width, device=images.device) * num_parts // width  # (W,)
    inside = column == torch.arange(num_parts, device=images.device)[:, None]  # (K, W)
    return CONFIDENT * inside.to(images)[None, :, None].expand(len(images), -1, images.shape[-2], -1)


def shades(images: Tensor, num_parts: int = 4) -> Tensor:
    """Parts by brightness: each pixel for itself, from dark to light."""
    level = images.mean(1, keepdim=True) * num_parts  # (B, 1, H, W)
    middle = torch.arange(num_parts, device=images.device).view(1, -1, 1, 1) + 0.5
    # not the square: up to a term that all parts share it is linear, and linear maps commute with interpolation
    return -CONFIDENT * (level - middle).abs()


def confidence(logits: Tensor, foreground: Tensor) -> float:
    """Mean probability of the likeliest part over the foreground: 1/K undecided, 1 sure."""
    top = logits.softmax(1).amax(1, keepdim=True)  # (B, 1, H, W)
    return float((top * foreground).sum() / foreground.sum())


def _draw_ways(axes: Sequence[Axes], ways: TwoWays) -> None:
    """The parts of the first image either way, and the divergence between them."""
    for ax, labels in zip(axes[:2], ways.labels(), strict=True):
        ax.imshow(overlay(ways.warped_images[0], labels[0], scale=2))
    # black from log K on: the divergence between "sure" and "undecided"
    shade = 1 - (ways.divergence()[0] / math.log(ways.divided_first.shape[1])).clamp(0, 1)  # (H, W)
    shown = torch.where(ways.foreground[0, 0] > 0.5, shade, torch.tensor(PALE))
    axes[2].imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)


def square_figure(
    networks: Mapping[str, Network], image: Tensor, foreground: Tensor, points: Tensor, chosen: int | None = None
) -> Figure:
    """A row per network: its parts of the image (3, H, W), the two ways around the square, and where they differ.

    Where a control point is ``chosen`` the first picture is the image with all points and their numbers instead.
    """
    figure = Figure(figsize=(9.6, 2.42 * len(networks) + 0.3))
    first = "parts of the image" if chosen is None else "where it is read"
    titles = [first, "first parts, then warp", "first warp, then parts", "where they differ"]
    for row, (name, network) in zip(figure.subplots(len(networks), 4, squeeze=False), networks.items(), strict=True):
        ways = two_ways(network, image[None], foreground[None], points[None])
        if chosen is None:
            with torch.no_grad():
                labels = (network(image[None])[0].argmax(0) + 1) * (foreground[0] > 0.5)  # (H, W)
            row[0].imshow(overlay(image, labels, scale=2))
        else:
            row[0].imshow(to_rgb_array(image), extent=(-1, 1, 1, -1), interpolation="lanczos")
            number_points(row[0], points, chosen)
            row[0].set(xlim=(-1.6, 1.6), ylim=(1.6, -1.6))
        _draw_ways(row[1:], ways)
        for ax, title in zip(row, titles, strict=True):
            ax.set(title=title, xticks=[], yticks=[], frame_on=False)
        agreement = "" if chosen is None else f"\n{ways.agreement():.0%} agree"
        row[0].set_ylabel(f"{name}\nloss {max(ways.loss(), 0):.3f}{agreement}")  # rounding can leave -0
        titles = [""] * 4  # above the first row alone
    return figure


def square_frame(networks: Mapping[str, Network], image: Tensor, foreground: Tensor, points: Tensor) -> Image.Image:
    """One frame of a film: the warped image, and per network a row of both ways in flat colors and their difference."""
    cell, top, left = 150, 20, 78
    frame = Image.new("RGB", (left + 4 * (cell + 4), top + len(networks) * (cell + 4)), "white")
    draw, font = ImageDraw.Draw(frame), ImageFont.load_default(12)
    for column, title in enumerate(("warped image", "first parts, then warp", "first warp, then parts", "difference")):
        draw.text((left + column * (cell + 4), 2), title, INK, font)
    for row, (name, network) in enumerate(networks.items()):
        ways = two_ways(network, image[None], foreground[None], points[None])
        first, second = (labels[0] for labels in ways.labels())  # (H, W)
        pictures = [] if row else [to_rgb_array(ways.warped_images[0])]
        pictures += [_flat(first), _flat(second), _flat(torch.where(first != second, 13, 0))]
        y = top + row * (cell + 4)
        for column, picture in enumerate(pictures, start=4 - len(pictures)):
            small = Image.fromarray(picture).resize((cell, cell), Image.Resampling.BICUBIC)
            frame.paste(small, (left + column * (cell + 4), y))
        draw.text((2, y + cell // 2 - 16), f"{name}\n{ways.agreement():.0%} agree", INK, font)
    return frame


def _flat(labels: Tensor) -> np.ndarray:
    """Label map (H, W) in the colors of the parts, on a pale ground, (H, W, 3) uint8; 13 is dark gray."""
    palette = np.array([(PALE,) * 3, *(part_color(k) for k in range(1, 13)), (0.2,) * 3])
    return (255 * palette[labels.numpy()]).round().astype(np.uint8)


def equivariance_explorer(networks: Mapping[str, Network], image: Tensor, foreground: Tensor) -> Interactive:
    """Choose a network, move a numbered control point, scale and turn; see both ways around the square and the loss."""

    def draw(network: str, point: int, **values: Any) -> Figure:
        points = source_points(point, **values)
        return square_figure({network: networks[network]}, image, foreground, points, chosen=point)

    return Interactive(
        draw,
        lambda: {"network": choice("network", list(networks), list(networks)[-1]), **warp_sliders(1.1, 30.0)},
        square_figure(networks, image, foreground, source_points(12, 0.2, -0.2, 1.1, 30.0), chosen=12),
    )
