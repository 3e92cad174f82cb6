"""The method at a glance, for the README: ``python figures/method.py`` draws figures/method.png in half a minute.

Every picture in it is computed by a shipped model, from birds of the test split.
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, FancyArrowPatch
from partlib_course import overview

from partlib import load_dataset, load_pretrained, warps
from partlib.data import collate
from partlib.metrics import part_centers
from partlib.report.plots import PART_COLORS, overlay
from partlib.segmenter import likeliest_part, part_maps

FILE = Path(__file__).with_name("method.png")
BIRDS = (50, 12)  # of the test split; the first is followed through the figure
LINES = {
    "feature": ("1  Features", "within a part, what an ImageNet\nnetwork sees is alike"),
    "contrast": ("2  Contrast", "a part resembles the same part of\nother birds, not the other parts"),
    "visual": ("3  Colours", "within a part, colours are alike: the\nbird redrawn with one for each part"),
    "equivariance": ("4  Equivariance", "the parts of a warped bird are\nthe warped parts of the bird"),
}


@torch.no_grad()
def draw() -> Figure:
    segmenter, config = load_pretrained("birds-k4")
    test_set = load_dataset("birds", "test", image_size=config.image_size)
    batch = collate([test_set[i] for i in BIRDS])
    images, foreground = batch.images, batch.foreground  # (2, 3, H, W), (2, 1, H, W)
    maps = part_maps(segmenter(images), foreground)  # (2, 4, H, W)
    labels = likeliest_part(maps) * (foreground[:, 0] > 0.5)  # (2, H, W)
    painted = [overlay(image, parts) for image, parts in zip(images, labels, strict=True)]
    features = segmenter.encoder(images)[-2:]
    points = warps.random_points(2, torch.Generator().manual_seed(1), jitter=0.06, scale=(1.1, 1.25), angle=35)
    grid = warps.thin_plate_grid(points, images.shape[-2:])
    moved, inside = warps.warp(images, grid), warps.warp(foreground, grid)
    moved_labels = likeliest_part(segmenter(moved)) * (inside[:, 0] > 0.5)

    figure = Figure(figsize=(12, 5.2), dpi=110)
    # What goes in and what comes out
    show(figure, (0.01, 0.28, 0.15, 0.46), images[0], "a bird, and its mask")
    figure.text(0.218, 0.57, "frozen encoder,\ntrained decoder", ha="center", fontsize=10)
    arrow(figure, (0.168, 0.51), (0.268, 0.51))
    for k in range(4):
        place = (0.275 + 0.075 * (k % 2), 0.535 - 0.235 * (k // 2), 0.07, 0.19)
        axes = show(figure, place, tinted(maps[0, k], PART_COLORS[k]))
        axes.set_title(f"part {k + 1}", fontsize=9, pad=2)
    figure.text(0.347, 0.2, "part maps: how much each\npixel belongs to each part", ha="center", fontsize=10)
    arrow(figure, (0.432, 0.51), (0.478, 0.51))
    figure.text(0.74, 0.955, "four losses, and no label of any part", ha="center", fontsize=12)
    # What each loss asks for
    pictures = {
        "feature": list(overview.feature_pictures(maps, features, foreground).values()),
        "contrast": painted,
        "visual": [images, overview.redraw(images, maps)],
        "equivariance": [painted[0], overlay(moved[0], moved_labels[0])],
    }
    for number, (name, (title, text)) in enumerate(LINES.items()):
        left, bottom = 0.49 + 0.26 * (number % 2), 0.56 - 0.47 * (number // 2)
        pair = [show(figure, (left + 0.122 * i, bottom, 0.118, 0.28), one(pictures[name][i])) for i in (0, 1)]
        figure.text(left, bottom + 0.315, title, fontsize=11, weight="bold")
        figure.text(left, bottom - 0.018, text, fontsize=9.5, va="top")
        if name == "contrast":
            join(figure, pair, part_centers(maps))
    return figure


def one(picture: torch.Tensor) -> torch.Tensor:
    """The first of a batch of pictures, or the picture."""
    return picture[0] if picture.ndim == 4 else picture


def show(figure: Figure, place: tuple[float, float, float, float], picture: torch.Tensor, title: str = "") -> Axes:
    """A picture (3, H, W) or (H, W, 3) at a place of the figure."""
    axes = figure.add_axes(place)
    axes.imshow(picture.movedim(0, -1) if torch.is_tensor(picture) and picture.shape[0] == 3 else picture)
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return axes


def tinted(part_map: torch.Tensor, color: str) -> torch.Tensor:
    """A part map (H, W) as a picture (H, W, 3): pale where it is 0, the part's color where it is 1."""
    rgb = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return 0.93 - part_map[..., None] * (0.93 - rgb)


def arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 16, "color": "#555555", "linewidth": 1.5}
    figure.add_artist(FancyArrowPatch(start, end, transform=figure.transFigure, **style))


def join(figure: Figure, pair: list[Axes], centers: torch.Tensor) -> None:
    """Lines between the centers (2, K, 2) of the same part in two pictures."""
    for k, (here, there) in enumerate(zip(centers[0].tolist(), centers[1].tolist(), strict=True)):
        line = ConnectionPatch(here, there, "data", "data", axesA=pair[0], axesB=pair[1], linewidth=2)
        line.set(color=PART_COLORS[k])
        figure.add_artist(line)


if __name__ == "__main__":
    draw().savefig(FILE)
    print(FILE)
