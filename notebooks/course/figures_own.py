"""Figures of the notebook on one's own photographs: masks on photographs, and how much of them each part holds."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from partlib.data.base import Sample
from partlib.metrics import part_share
from partlib.report.plots import INK, overlay, parts_grid, to_rgb_array


def mask_grid(samples: Sequence[Sample], cell: int = 128) -> Figure:
    """Images above, below what counts as the object: the rest is faded."""
    faded = [fade(s.image, s.foreground) for s in samples]
    return parts_grid({"image": [s.image for s in samples], "object": faded}, cell=cell)


def fade(image: Tensor, inside: Tensor) -> Tensor:
    """An image (3, H, W) that turns nearly white where ``inside`` (1, H, W) or (H, W) is 0."""
    return image * inside + (0.15 * image + 0.85) * (1 - inside)


def share_bars(runs: Mapping[str, Tensor], num_parts: int, dead: float) -> Figure:
    """Share of the foreground that each part holds, a panel per run; parts below ``dead`` are marked.

    Parameters
    ----------
    runs : title -> labels (N, H, W), 0 is background, 1..K are parts.
    num_parts : K.
    dead : share below which a part counts as dead, in [0, 1].
    """
    figure, axes = plt.subplots(
        1, len(runs), figsize=(3.0 * len(runs), 2.4), dpi=100, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, labels) in zip(axes[0], runs.items(), strict=True):
        shares = np.sort(part_share(labels, num_parts).numpy())[::-1]  # the number of a part means nothing
        ax.bar(range(1, num_parts + 1), shares, color=["#0072b2" if s >= dead else "#d55e00" for s in shares])
        for k, share in enumerate(shares, start=1):
            text, color = (f"{share:.0%}", INK) if share >= dead else (f"{share:.1%}\ndead", "#d55e00")
            ax.text(k, share + 0.02, text, ha="center", fontsize=8, color=color)
        ax.set_title(title, fontsize=9, color=INK, loc="left")
        ax.set_xlabel("parts, largest first", fontsize=8)
        ax.set_xticks(range(1, num_parts + 1))
        ax.set_ylim(0, 1.1)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("share of the object", fontsize=8)
    plt.close(figure)
    return figure


def photo_panels(photo: np.ndarray, labels: Mapping[str, np.ndarray], height: float = 3.6) -> Figure:
    """A photograph and divisions of it, side by side, at the photograph's own proportions.

    Parameters
    ----------
    photo : (H, W, 3) uint8.
    labels : title -> (H, W) labels.
    height : of the panels, in inches.
    """
    width = height * photo.shape[1] / photo.shape[0]
    figure, axes = plt.subplots(
        1, 1 + len(labels), figsize=((1 + len(labels)) * width, height + 0.25), dpi=100, layout="constrained"
    )
    pictures = {"photograph": to_rgb_array(photo)} | {title: overlay(photo, found) for title, found in labels.items()}
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(picture, interpolation="lanczos")
        ax.set_title(title, fontsize=9, color=INK)
        ax.set_axis_off()
    plt.close(figure)
    return figure
