"""Pictures: parts on images, and grids of them, as arrays or closed figures. Part k has the same color everywhere."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from partlib.data.base import PartDataset, Sample
from partlib.metrics import contingency_table
from partlib.paths import write_atomically

PART_COLORS = (  # Okabe and Ito's, strongest contrasts first, then Tol's: told apart with the common color blindnesses
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442"),
    *("#332288", "#882255", "#44AA99", "#DDCC77", "#999933"),
)
BACKGROUND_COLOR = "#D9D9D9"
INK = "#333333"
BAND = 128  # rows of a picture that are worked on at a time: a photograph of 12 megapixels as floats takes gigabytes
Picture = Tensor | np.ndarray


def part_color(label: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of a label: 0 is gray, parts beyond the palette start it again."""
    return to_rgb(BACKGROUND_COLOR if label == 0 else PART_COLORS[(label - 1) % len(PART_COLORS)])


def to_rgb_array(image: Picture) -> np.ndarray:
    """An image (3, H, W) or (H, W, 3), floats in [0, 1] or uint8, as (H, W, 3) uint8."""
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.shape[0] == 3 and array.shape[-1] != 3:
        array = array.transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    assert array.shape[2:] == (3,), f"image has shape {array.shape}; expected (3, H, W) or (H, W, 3)"
    return array if array.dtype == np.uint8 else (array.clip(0, 1) * 255).round().astype(np.uint8)


def overlay(image: Picture, labels: Picture, alpha: float = 0.6, outline: bool = True, scale: int = 1) -> np.ndarray:
    """Parts (H, W), 0 is background, drawn on an image, (scale * H, scale * W, 3) uint8; the background is faded.

    ``alpha`` is the opacity, ``outline`` draws white lines between parts, ``scale`` enlarges with smooth borders.
    """
    picture, found = to_rgb_array(image), np.asarray(labels)
    assert picture.shape[:2] == found.shape, f"image is {picture.shape[:2]} pixels but labels are {found.shape}"
    if scale > 1:  # a pixel takes the label whose interpolated indicator is largest
        values = np.unique(found)
        found = values[np.argmax([_enlarge((found == v).astype(np.float32), scale) for v in values], axis=0)]
        picture = _enlarge(picture, scale)
    palette = np.array([part_color(k) for k in range(int(found.max(initial=0)) + 1)], np.float32)  # (K + 1, 3)
    result = np.empty_like(picture)
    for top in range(0, len(found), BAND):
        rows = slice(top, top + BAND)
        result[rows] = _tinted(picture[rows], found[rows], palette, alpha)
    if outline:  # pixels that differ from their right or lower neighbor
        result[:, :-1][found[:, :-1] != found[:, 1:]] = 255
        result[:-1][found[:-1] != found[1:]] = 255
    return result


def _tinted(picture: np.ndarray, found: np.ndarray, palette: np.ndarray, alpha: float) -> np.ndarray:
    """Some rows of an overlay, (H, W, 3) uint8."""
    pixels = picture.astype(np.float32) / 255
    gray = pixels.mean(2, keepdims=True)
    faded = 0.25 * pixels + 0.25 * gray + 0.5  # half of the color, and halfway to white
    # Gray under the parts: the object's own colors would mix with theirs into colors of other parts.
    tinted = (1 - alpha) * (0.15 + 0.85 * gray) + alpha * palette[found]
    return (np.where(found[..., None] > 0, tinted, faded) * 255).round().astype(np.uint8)


def _enlarge(array: np.ndarray, scale: int) -> np.ndarray:
    picture = Image.fromarray(array)
    return np.asarray(picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC))


def palette_image(labels: Picture) -> Image.Image:
    """Label map (H, W) as a Pillow palette image: pixel values are the labels, shown in the part colors."""
    picture = Image.fromarray(np.asarray(labels).astype(np.uint8))
    picture.putpalette([round(255 * channel) for k in range(256) for channel in part_color(k)])
    return picture


def match_parts(labels: Picture, reference: Picture) -> Tensor:
    """Labels (..., H, W) renumbered so that parts have the numbers, and the colors, of the classes they overlap most.

    They are paired one to one with the largest total overlap (Hungarian method); parts without a class come after them.
    """
    from scipy.optimize import linear_sum_assignment  # imported on use: it takes tens of megabytes

    found, classes = torch.as_tensor(labels).long(), torch.as_tensor(reference).long()
    overlap = contingency_table(found, classes)[1:, 1:].cpu().numpy()  # (classes, parts)
    wanted, parts = linear_sum_assignment(overlap, maximize=True)
    unmatched = np.setdiff1d(np.arange(overlap.shape[1]), parts)
    lookup = torch.zeros(overlap.shape[1] + 1, dtype=torch.int64, device=found.device)  # part -> number
    lookup[parts + 1] = torch.as_tensor(wanted + 1)
    lookup[unmatched + 1] = overlap.shape[0] + 1 + torch.arange(len(unmatched))
    return lookup[found]


def parts_grid(
    rows: Mapping[str, Sequence[Picture]],
    column_titles: Sequence[str] = (),
    legend: Sequence[str] = (),
    cell: int = 150,
) -> Figure:
    """Pictures of one size in titled rows, ``cell`` pixels wide; ``legend`` names the classes 1, 2, ... below."""
    columns = max(len(images) for images in rows.values())
    shape = to_rgb_array(next(images[0] for images in rows.values() if len(images))).shape
    gap, left, top, dpi = 4, 34, 22 if column_titles else 4, 100  # all lengths in pixels
    height, width_px = round(cell * shape[0] / shape[1]), left + columns * (cell + gap)
    across = max(1, min(8, width_px // 90))  # names beside each other in the legend
    bottom = 8 + 20 * math.ceil(len(legend) / across) if legend else gap
    height_px = top + len(rows) * (height + gap) + bottom
    figure = plt.figure(figsize=(width_px / dpi, height_px / dpi), dpi=dpi, facecolor="white", layout="none")
    for r, (title, images) in enumerate(rows.items()):
        y = 1 - (top + (r + 1) * (height + gap) - gap) / height_px
        place = left / 2 / width_px, y + height / height_px / 2
        figure.text(*place, textwrap.fill(title, 20), rotation=90, ha="center", va="center", fontsize=9, color=INK)
        for c, image in enumerate(images):
            axes = figure.add_axes(((left + c * (cell + gap)) / width_px, y, cell / width_px, height / height_px))
            axes.imshow(to_rgb_array(image), interpolation="lanczos", aspect="auto")
            axes.set_axis_off()
            if r == 0 and c < len(column_titles):
                axes.set_title(column_titles[c], fontsize=9, color=INK, pad=4)
    if legend:
        handles = [plt.Rectangle((0, 0), 1, 1, color=part_color(k)) for k in range(1, len(legend) + 1)]
        style = {"frameon": False, "fontsize": 9, "handlelength": 1.2, "borderpad": 0}
        figure.legend(handles, legend, loc="lower center", ncols=min(across, len(legend)), **style)
    plt.close(figure)
    return figure


def results_grid(
    samples: Sequence[Sample] | PartDataset,
    predictions: Mapping[str, Tensor],
    path: Path | None = None,
    *,
    pick: Sequence[int] | None = None,
    part_names: Sequence[str] = (),
    cell: int = 150,
) -> Figure:
    """Images, truth where annotated, predictions (N, H, W) in its colors, a row each; ``path`` is a PNG to write.

    Colors are matched to the annotation over all N samples, whichever of them ``pick`` shows (all by default).
    """
    scale, columns = math.ceil(cell / samples[0].image.shape[-1]), list(range(len(samples)) if pick is None else pick)
    for name, labels in predictions.items():
        assert len(labels) == len(samples), f"{name} has {len(labels)} label maps for {len(samples)} images"
    annotated = samples[0].parts is not None
    if annotated:
        every = (samples[i].parts for i in range(len(samples)))
        truth = torch.stack([parts for parts in every if parts is not None])  # (N, H, W)
        matched = {name: match_parts(labels, truth)[columns] for name, labels in predictions.items()}
        shown = {"ground truth": truth[columns], **matched}
    else:
        shown = {name: labels[columns] for name, labels in predictions.items()}
    images = [samples[i].image for i in columns]
    rows: dict[str, Sequence[Picture]] = {"image": images}
    for name, labels in shown.items():
        rows[name] = [overlay(image, one, scale=scale) for image, one in zip(images, labels, strict=True)]
    figure = parts_grid(rows, legend=part_names if annotated else (), cell=cell)
    if path is not None:
        save_png(figure, path, max_bytes=600_000)
    return figure


def save_png(figure: Figure, path: str | Path, max_bytes: float = math.inf) -> None:
    """Write a figure as PNG. One that is too large gets 256 colors, and then fewer pixels until it fits."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    picture, scale = Image.open(buffer).convert("RGB"), 1.0
    while len(buffer.getvalue()) > max_bytes and scale > 0.1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        smaller = picture.resize(size, Image.Resampling.LANCZOS)
        # Maximum coverage keeps rare colors (a small part, the legend), which the median cut would merge.
        colors = smaller.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        buffer = io.BytesIO()
        smaller.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, format="png", optimize=True)
        scale *= 0.9
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(buffer.getvalue()))
